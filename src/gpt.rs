//! GUID partition tables, as far as a view has to know them.

//! From files to the disk they hold.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::container::Layer;
use super::needs::{Given, Need, Role};
use super::{
    Backing, Container, Context, Details, Format, FormatError, Input, Parsed, Reading, Stop,
};
use crate::Disk;
use crate::cache::Caches;

/// Number of images that a disk may be based on, one on the other.
const MAX_CHAIN: usize = 16;
/// Number of images that may lie in one another: an image in an archive in a compressed file.
const MAX_INSIDE: usize = 3;

/// What the user allows and wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Backing files and external data files may be opened.
    pub chains: bool,
    /// Compressed files (xz) may be read.
    pub compressed: bool,
    /// Which disk of a file that holds several, counted from 0.
    pub disk: usize,
}

/// How far opening an image has come.
#[derive(Debug)]
pub enum Step {
    /// The disk.
    Ready(Container),
    /// Further files, to be [given](Opening::give) in this order.
    Needs(Vec<Need>),
}

/// Opens an image: says which files are needed, and makes the disk of them.
///
/// Opens no file itself.
///
/// ```
/// use std::sync::Arc;
/// use disk::Disk;
/// use disk::cache::Caches;
/// use disk::format::{Given, Opening, Options, Step};
///
/// let image = Given {
///     name: "disk.raw".to_owned(),
///     identity: (0, 1),
///     bytes: Arc::new(vec![7; 4096]),
/// };
/// let mut opening = Opening::new(image, Options::default(), Caches::new(1 << 20, 0));
/// let disk = loop {
///     match opening.step()? {
///         Step::Ready(disk) => break disk,
///         Step::Needs(_) => unimplemented!("open each of them, then call opening.give"),
///     }
/// };
/// assert_eq!(disk.size(), 4096);
/// # Ok::<(), disk::format::FormatError>(())
/// ```
pub struct Opening {
    caches: Arc<Caches>,
    options: Options,
    files: Vec<Given>,
    inputs: Vec<Input>,
    /// What the further files were asked for, in the order of `files` without the first.
    given: Vec<Need>,
    asked: Vec<Need>,
    layers: Vec<Layer>,
    /// Numbers of the images of the chain.
    chain: Vec<usize>,
    details: Option<Details>,
    /// What the file holds, once that is known.
    several: Option<Several>,
    now: Current,
}

/// Images of disks that lie in one file.
struct Several {
    /// Those that were not asked for yet.
    images: Vec<Option<Result<Input, FormatError>>>,
    /// How many images each of them lies in.
    inside: usize,
    /// What to say of these.
    details: Option<Details>,
}

/// The image that is parsed next.
struct Current {
    /// Number of its file.
    file: usize,
    input: Input,
    /// How many images it lies in.
    inside: usize,
    /// Its format as the image above states it.
    stated: Option<String>,
}

impl Opening {
    /// Begins with the image itself.
    pub fn new(image: Given, options: Options, caches: Arc<Caches>) -> Self {
        let input = Input::file(Arc::clone(&image.bytes), &image.name, 0, &caches);
        Self {
            caches,
            options,
            files: vec![image],
            inputs: vec![input.clone()],
            given: Vec::new(),
            asked: Vec::new(),
            layers: Vec::new(),
            chain: vec![0],
            details: None,
            several: None,
            now: Current {
                file: 0,
                input,
                inside: 0,
                stated: None,
            },
        }
    }

    /// Gives the files that the last [`step`](Self::step) asked for, in that order.
    ///
    /// # Errors
    ///
    /// [`FormatError::Circle`] if one of them is an image that needs it.
    pub fn give(&mut self, files: Vec<Given>) -> Result<(), FormatError> {
        for (need, file) in std::mem::take(&mut self.asked).into_iter().zip(files) {
            let mut images = self.chain.iter().map(|&number| &self.files[number]);
            if images.any(|image| image.identity == file.identity) {
                return Err(FormatError::Circle(file.name));
            }
            let bytes = Arc::clone(&file.bytes);
            let number = self.files.len();
            self.inputs
                .push(Input::file(bytes, &file.name, number, &self.caches));
            self.files.push(file);
            self.given.push(need);
        }
        Ok(())
    }

    /// Number of disks in the file, as far as it is known: 1 before the first [`step`](Self::step).
    pub fn disks(&self) -> usize {
        let several = self.several.as_ref();
        several.map_or(1, |several| several.images.len())
    }

    /// Goes on to another disk of a file that holds several, counted from 0, without looking for it again. Each can
    /// be had once.
    ///
    /// # Errors
    ///
    /// Why there is no such disk.
    pub fn another(&mut self, disk: usize) -> Result<(), FormatError> {
        self.options.disk = disk;
        self.layers.clear();
        self.chain.truncate(1);
        self.enter()
    }

    /// Goes on with the disk that was asked for, of those that the file holds.
    fn enter(&mut self) -> Result<(), FormatError> {
        let disk = self.options.disk;
        let missing = FormatError::NoSuchDisk(disk);
        let Some(several) = &mut self.several else {
            return Err(missing);
        };
        let image = several.images.get_mut(disk).and_then(Option::take);
        self.details = several.details.clone();
        self.now = Current {
            file: 0,
            inside: several.inside,
            input: image.ok_or(missing)??,
            stated: None,
        };
        Ok(())
    }

    /// Goes on as far as it is possible with the files that are there.
    ///
    /// # Errors
    ///
    /// Why there is no disk.
    pub fn step(&mut self) -> Result<Step, FormatError> {
        loop {
            match self.parse() {
                Ok(true) => {}
                Ok(false) => return Ok(Step::Ready(self.finish())),
                Err(Stop::Needs) => return Ok(Step::Needs(self.asked.clone())),
                Err(Stop::Refused(error)) => return Err(self.blame(error)),
            }
        }
    }

    /// Names the file that the error is in, where it is not the image itself.
    fn blame(&self, error: FormatError) -> FormatError {
        match self.now.file.checked_sub(1) {
            None => error,
            Some(further) => FormatError::Further {
                role: self.given[further].role,
                name: self.files[self.now.file].name.clone(),
                error: Box::new(error),
            },
        }
    }

    fn finish(&mut self) -> Container {
        let layers = std::mem::take(&mut self.layers);
        let details = self
            .details
            .take()
            .unwrap_or_else(|| Details::new(Format::RAW));
        Container::new(layers, details, Arc::clone(&self.caches))
    }

    /// Parses the next image; `false` if there is none after it.
    fn parse(&mut self) -> Result<bool, Stop> {
        let input = self.now.input.clone();
        if input.size() == 0 {
            return Err(FormatError::Empty.into());
        }
        let format = self.format()?;
        let parse = match format.kind().reading {
            Reading::Parse(parse) => parse,
            Reading::Refuse(reason) => return Err(FormatError::NoDisk { format, reason }.into()),
        };
        let caches = Arc::clone(&self.caches);
        let options = self.options;
        let parsed = parse(&mut Context {
            input,
            caches: &caches,
            options: &options,
            further: &mut |need| {
                let of = self.now.file;
                self.further(format, Need { of, ..need })
            },
        })?;
        match parsed {
            Parsed::Inner { input, details } => {
                self.go_inside()?;
                self.now.input = input;
                self.describe(details);
                Ok(true)
            }
            Parsed::Several { images, details } => {
                self.go_inside()?;
                self.describe(details);
                let mut images: Vec<_> = images.into_iter().map(Some).collect();
                if self.now.file != 0 {
                    let first = images.first_mut().and_then(Option::take);
                    self.now.input = first.ok_or(FormatError::NoSuchDisk(0))??;
                    return Ok(true);
                }
                self.several = Some(Several {
                    images,
                    inside: self.now.inside,
                    details: self.details.clone(),
                });
                self.enter()?;
                Ok(true)
            }
            Parsed::Disk {
                map,
                inputs,
                backing,
                details,
            } => {
                if map.size() == 0 {
                    return Err(FormatError::Empty.into());
                }
                // Asked for first: this image is parsed again if the file is not there yet.
                let below = match &backing {
                    Some(backing) => Some(self.backing(format, backing)?),
                    None => None,
                };
                self.layers.push(Layer::new(map, inputs));
                self.describe(details);
                let Some(file) = below else {
                    return Ok(false);
                };
                self.chain.push(file);
                self.now = Current {
                    file,
                    input: self.inputs[file].clone(),
                    inside: 0,
                    stated: Some(
                        backing
                            .and_then(|backing| backing.format)
                            .unwrap_or_default(),
                    ),
                };
                Ok(true)
            }
        }
    }

    /// # Errors
    ///
    /// [`FormatError::Limit`] if too many images lie in one another.
    fn go_inside(&mut self) -> Result<(), FormatError> {
        self.now.inside += 1;
        if self.now.inside > MAX_INSIDE {
            return Err(FormatError::Limit {
                what: "number of images in one another",
                value: self.now.inside as u64,
                limit: MAX_INSIDE as u64,
            });
        }
        Ok(())
    }

    /// Keeps what is to be said about the image itself, the outermost file first.
    fn describe(&mut self, details: Details) {
        if self.now.file != 0 {
            return;
        }
        match &mut self.details {
            None => self.details = Some(details),
            Some(outer) => outer.add_inner(details),
        }
    }

    /// The format of the image that is parsed next.
    fn format(&self) -> Result<Format, FormatError> {
        let stated = self.now.stated.as_deref();
        if stated == Some(Format::RAW.name()) {
            return Ok(Format::RAW);
        }
        let found = Format::of(&self.now.input)?;
        let name = || self.files[self.now.file].name.clone();
        match stated {
            None => Ok(found),
            Some("") if found == Format::RAW => Err(FormatError::BackingNotStated(name())),
            Some("") => Ok(found),
            Some(stated) if found.is_called_by_qemu(stated) => Ok(found),
            Some(stated) => Err(FormatError::BackingFormat {
                name: name(),
                stated: stated.to_owned(),
                found,
            }),
        }
    }

    fn backing(&mut self, format: Format, backing: &Backing) -> Result<usize, Stop> {
        if self.chain.len() > MAX_CHAIN {
            return Err(FormatError::ChainTooLong(MAX_CHAIN).into());
        }
        let need = Need {
            of: self.now.file,
            name: backing.name.clone(),
            role: Role::Backing,
        };
        self.number(format, need)?.ok_or(Stop::Needs)
    }

    /// The further file, if it is there; asks for it if it is not.
    fn further(&mut self, format: Format, need: Need) -> Result<Option<Input>, FormatError> {
        let number = self.number(format, need)?;
        Ok(number.map(|number| self.inputs[number].clone()))
    }

    fn number(&mut self, format: Format, need: Need) -> Result<Option<usize>, FormatError> {
        self.allow(format, &need)?;
        let given = self.given.iter().position(|given| *given == need);
        if given.is_none() && !self.asked.contains(&need) {
            self.asked.push(need);
        }
        Ok(given.map(|index| index + 1))
    }

    /// A guest can write any header into its disk: only a file whose extension says that its owner
    /// made it an image of that format may name other files.
    fn allow(&self, format: Format, need: &Need) -> Result<(), FormatError> {
        let (role, name) = (need.role, need.name.clone());
        if self.now.inside > 0 {
            return Err(FormatError::FurtherInside { role, name });
        }
        let extension = Path::new(&self.files[self.now.file].name).extension();
        let says_so = format
            .extensions()
            .iter()
            .any(|known| extension.is_some_and(|extension| extension.eq_ignore_ascii_case(known)));
        if !says_so {
            return Err(FormatError::ExtensionNotAllowed {
                role,
                name,
                format,
                extension: format
                    .extensions()
                    .first()
                    .copied()
                    .unwrap_or(format.name()),
            });
        }
        if role != Role::Extent && !self.options.chains {
            return Err(FormatError::ChainNotAllowed { role, name });
        }
        Ok(())
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("inputs", &self.inputs)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

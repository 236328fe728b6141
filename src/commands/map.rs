//! `vhdfs map`: which ranges of a view hold data.

use std::io::{self, BufWriter, Write};

use indicatif::HumanBytes;

use super::Failure;
use super::picture::{self, Picture};
use super::print::{ignore_closed, print};
use super::progress::Progress;
use super::view::{Choice, Named, ViewError};
use crate::cli::{MapArgs, MapFormat};
use crate::folder::settle::Writers;
use crate::serve::image::{OpenImage, Policy};
use vhd::map::{self, MapRange};

pub(super) fn run(args: &MapArgs) -> Result<(), Failure> {
    let choice = Choice::new(&args.selection, &args.view)?;
    let named = Named::find(&args.image, &choice)?;
    let image = named.open(&args.view, Policy::Never, Writers::Refuse)?;
    match args.format() {
        MapFormat::Text => show(args, &image),
        MapFormat::Json => stream(args, &image, Json::default()),
        MapFormat::Pages => stream(args, &image, Pages),
    }
}

/// Walks over the ranges of the view, from extents, or with `--probe` from all data.
fn walk(
    args: &MapArgs,
    image: &OpenImage,
    mut visit: impl FnMut(MapRange) -> io::Result<()>,
) -> Result<(), Stop> {
    let mut stopped = None;
    let visit = |range| {
        visit(range).map_err(|error| {
            let copy = io::Error::from(error.kind());
            stopped = Some(error);
            copy
        })
    };
    let walked = match args.granularity() {
        None => map::map(image.view(), visit),
        Some(granularity) => {
            let mut data = 0;
            map::map(image.view(), |part| {
                data += if part.zero { 0 } else { part.range.len() };
                Ok(())
            })
            .map_err(Stop::Read)?;
            let progress = Progress::new(data, "probing");
            let check = |read| {
                progress.advance(read);
                image.check()
            };
            map::probe(image.view(), granularity, check, visit)
        }
    };
    if let Some(error) = stopped {
        return Err(Stop::Write(error));
    }
    // A change also explains an error of reading.
    image.check().map_err(Stop::Read)?;
    walked.map_err(Stop::Read)
}

/// Which side ended the walk.
enum Stop {
    Read(io::Error),
    Write(io::Error),
}

impl Stop {
    fn into_result(self, args: &MapArgs) -> Result<(), Failure> {
        match self {
            Self::Read(error) => Err(ViewError::Read(args.image.clone(), error).into()),
            Self::Write(error) => ignore_closed(Err(error)),
        }
    }
}

/// A form of the map that is written while it is made, whatever the number of ranges.
trait Form {
    fn begin(&mut self, out: &mut dyn Write, args: &MapArgs, size: u64) -> io::Result<()>;
    fn add(&mut self, out: &mut dyn Write, part: MapRange) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

fn stream(args: &MapArgs, image: &OpenImage, mut form: impl Form) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let walked = form
        .begin(&mut out, args, image.size())
        .map_err(Stop::Write)
        .and_then(|()| walk(args, image, |part| form.add(&mut out, part)))
        .and_then(|()| {
            let ended = form.end(&mut out).and_then(|()| out.flush());
            ended.map_err(Stop::Write)
        });
    walked.or_else(|stop| stop.into_result(args))
}

/// One JSON document, a range a line.
#[derive(Debug, Default)]
struct Json {
    data_bytes: u64,
    ranges: u64,
}

impl Form for Json {
    fn begin(&mut self, out: &mut dyn Write, args: &MapArgs, size: u64) -> io::Result<()> {
        let image = serde_json::to_string(&args.image.to_string_lossy())?;
        let probed = args.probe;
        write!(
            out,
            "{{\n  \"image\": {image},\n  \"view_size\": {size},\n  \"probed\": {probed},\n  \"ranges\": ["
        )
    }

    fn add(&mut self, out: &mut dyn Write, part: MapRange) -> io::Result<()> {
        let comma = if self.ranges == 0 { "" } else { "," };
        let (offset, length) = (part.range.start(), part.range.len());
        self.ranges += 1;
        if !part.zero {
            self.data_bytes += length;
        }
        write!(
            out,
            "{comma}\n    {{\"offset\": {offset}, \"length\": {length}, \"zero\": {}}}",
            part.zero
        )
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n  ],\n  \"data_bytes\": {}\n}}", self.data_bytes)
    }
}

/// `offset length` of each range that holds data, a line each.
#[derive(Debug)]
struct Pages;

impl Form for Pages {
    fn begin(&mut self, _: &mut dyn Write, _: &MapArgs, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn add(&mut self, out: &mut dyn Write, part: MapRange) -> io::Result<()> {
        match part.zero {
            true => Ok(()),
            false => writeln!(out, "{} {}", part.range.start(), part.range.len()),
        }
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn show(args: &MapArgs, image: &OpenImage) -> Result<(), Failure> {
    let layout = image.view().layout();
    let mut picture = Picture::new(layout, picture::width());
    let (mut data, mut ranges) = (0, 0_u64);
    let walked = walk(args, image, |part| {
        if !part.zero {
            data += part.range.len();
            ranges += 1;
            picture.add_data(part.range);
        }
        Ok(())
    });
    if let Err(stop) = walked {
        return stop.into_result(args);
    }
    let failed = ViewError::reading(&args.image);
    picture
        .add_partitions(image.view())
        .and_then(|()| image.check())
        .map_err(failed)?;
    let size = image.size();
    let share = |bytes: u64| format!("{:.1} %", bytes as f64 / size as f64 * 100.0);
    let zeros = size - data;
    let found = match args.granularity() {
        None => "from extents, nothing was read".to_owned(),
        Some(granularity) => format!("all data was read, in blocks of {granularity} bytes"),
    };
    print(&format!(
        "view   {} ({size} bytes)\ndata   {} ({data} bytes, {}) in {ranges} ranges\nzeros  {} ({})\n       {found}\n\n{picture}",
        HumanBytes(size),
        HumanBytes(data),
        share(data),
        HumanBytes(zeros),
        share(zeros),
    ))
}

//! A blob service that keeps nothing, for measuring uploaders: it takes Put Blob and Put Page, counts
//! what arrives, and compares the checksum of each range with that of the file that it was given.
//!
//! `sink EXPECTED_VHD` prints its address, then for each blob a line when its first page arrives, `NAME begins`,
//! and one whenever it is asked for its properties, which uploaders do at the end: `NAME BYTES RANGES WRONG`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::thread;

/// Largest range that the protocol permits in one request, in bytes.
const LARGEST: usize = 4 << 20;
const LARGEST_HEAD: usize = 64 << 10;

/// What is known of one blob.
struct Blob {
    size: u64,
    bytes: u64,
    ranges: u64,
    wrong: u64,
    /// Whether any page of it was put.
    is_filled: bool,
}

struct Sink {
    /// Checksums of the expected file, by the range asked for: computed once, then remembered.
    expected: File,
    sums: Mutex<HashMap<(u64, usize), u32>>,
    blobs: Mutex<HashMap<String, Blob>>,
}

struct Head {
    method: String,
    path: String,
    query: String,
    fields: HashMap<String, String>,
}

fn main() -> io::Result<()> {
    let path = std::env::args_os().nth(1).expect("the expected VHD");
    let sink = Arc::new(Sink {
        expected: File::open(path)?,
        sums: Mutex::default(),
        blobs: Mutex::default(),
    });
    sink.learn()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}/account", listener.local_addr()?);
    for connection in listener.incoming() {
        let (connection, sink) = (connection?, sink.clone());
        thread::spawn(move || {
            // The uploader reports a connection that breaks.
            let _ = sink.serve(connection);
        });
    }
    Ok(())
}

impl Sink {
    /// Sums of the ranges that uploaders send: 4 MiB each, from the beginning.
    fn learn(&self) -> io::Result<()> {
        let size = self.expected.metadata()?.len();
        let mut buffer = vec![0; LARGEST];
        let mut sums = self.sums.lock().expect("no thread has panicked");
        for offset in (0..size).step_by(LARGEST) {
            let length = (size - offset).min(LARGEST as u64) as usize;
            self.expected.read_exact_at(&mut buffer[..length], offset)?;
            sums.insert((offset, length), crc32fast::hash(&buffer[..length]));
        }
        Ok(())
    }

    fn is_right(&self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let known = self
            .sums
            .lock()
            .expect("no thread has panicked")
            .get(&(offset, bytes.len()))
            .copied();
        let sum = match known {
            Some(sum) => sum,
            None => {
                let mut buffer = vec![0; bytes.len()];
                self.expected.read_exact_at(&mut buffer, offset)?;
                crc32fast::hash(&buffer)
            }
        };
        Ok(sum == crc32fast::hash(bytes))
    }

    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(1 << 20, connection.try_clone()?);
        let mut writer = connection;
        let mut body = Vec::new();
        while let Some(head) = read_head(&mut reader)? {
            let length: usize = head.field("content-length").parse().unwrap_or(0);
            if length > LARGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if head.field("expect") == "100-continue" {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
            let reply = self.reply(&head, &body)?;
            writer.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    fn reply(&self, head: &Head, body: &[u8]) -> io::Result<String> {
        let mut blobs = self.blobs.lock().expect("no thread has panicked");
        let asks = |what: &str| head.query.split('&').any(|pair| pair == what);
        Ok(match (head.method.as_str(), blobs.get_mut(&head.path)) {
            ("HEAD" | "GET", Some(blob)) => {
                println!(
                    "{} {} {} {}",
                    head.path, blob.bytes, blob.ranges, blob.wrong
                );
                let fields = format!(
                    "x-ms-blob-type: PageBlob\r\nContent-Length: {}\r\n",
                    blob.size
                );
                response("200 OK", &fields, false)
            }
            ("HEAD" | "GET", None) => {
                response("404 Not Found", "x-ms-error-code: BlobNotFound\r\n", true)
            }
            ("PUT", Some(blob)) if asks("comp=page") => {
                let range = head.field("x-ms-range");
                let range = if range.is_empty() {
                    head.field("range")
                } else {
                    range
                };
                let offset = range
                    .strip_prefix("bytes=")
                    .and_then(|range| range.split('-').next());
                let offset = offset
                    .and_then(|offset| offset.parse().ok())
                    .unwrap_or(u64::MAX);
                if !std::mem::replace(&mut blob.is_filled, true) {
                    println!("{} begins", head.path);
                }
                drop(blobs);
                let right = self.is_right(offset, body).unwrap_or(false);
                let mut blobs = self.blobs.lock().expect("no thread has panicked");
                if let Some(blob) = blobs.get_mut(&head.path) {
                    blob.bytes += body.len() as u64;
                    blob.ranges += 1;
                    blob.wrong += u64::from(!right);
                }
                response("201 Created", "", true)
            }
            ("PUT", _) if head.query.is_empty() || !head.query.contains("comp=") => {
                let size = head.field("x-ms-blob-content-length").parse().unwrap_or(0);
                let blob = Blob {
                    size,
                    bytes: 0,
                    ranges: 0,
                    wrong: 0,
                    is_filled: false,
                };
                blobs.insert(head.path.clone(), blob);
                response("201 Created", "", true)
            }
            _ => response("200 OK", "", true),
        })
    }
}

impl Head {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

fn response(status: &str, fields: &str, empty: bool) -> String {
    let length = if empty { "Content-Length: 0\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\n{length}{fields}x-ms-version: 2025-01-05\r\nx-ms-request-id: 0\r\nETag: \"0x1\"\r\n\
         Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
    )
}

/// The next request's head; `None` if the client has closed the connection.
fn read_head(reader: &mut impl Read) -> io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader.read(&mut byte)? == 0 || bytes.len() > LARGEST_HEAD {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&bytes).map_err(io::Error::other)?;
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = request.headers.iter();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        fields: fields
            .map(|field| (field.name.to_ascii_lowercase(), text(field.value)))
            .collect(),
    }))
}

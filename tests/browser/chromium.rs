//! A headless Chromium that opens one page of ours and posts back what it found.

use deputy::kernels::Shader;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PAGE: &str = include_str!("page.html");

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// How long the browser may take to start, and then for each further part of the shaders.
const PATIENCE: Duration = Duration::from_secs(400);

/// A shader as the page gets it.
#[derive(Clone, Serialize)]
pub(crate) struct Source {
    pub(crate) label: String,
    pub(crate) kernel: &'static str,
    pub(crate) source: String,
    pub(crate) constants: BTreeMap<&'static str, u32>,
    /// The page puts `enable subgroups;` before the text.
    pub(crate) subgroups: bool,
}

impl From<&Shader> for Source {
    fn from(shader: &Shader) -> Self {
        Self {
            label: shader.label.clone(),
            kernel: shader.kernel,
            source: shader.source(),
            constants: shader.constants.iter().copied().collect(),
            subgroups: shader.has_subgroups(),
        }
    }
}

/// What the page posts.
#[derive(Deserialize)]
pub(crate) struct Report {
    adapter: Option<String>,
    failure: Option<String>,
    pub(crate) results: Vec<Compiled>,
}

/// What the browser said of one shader.
#[derive(Deserialize)]
pub(crate) struct Compiled {
    pub(crate) label: String,
    /// The adapter lacks what the shader needs.
    pub(crate) skipped: bool,
    /// Errors and warnings, of the text and of the pipeline.
    pub(crate) messages: Vec<String>,
}

/// Has Chromium compile the shaders; `None`, with a word, where there is no Chromium with WebGPU.
///
/// # Panics
/// In CI in place of `None`, and where the page does not report in time. `name` tells runs side by side apart.
pub(crate) fn report(name: &str, shaders: &[Source]) -> Option<Report> {
    let required = std::env::var_os("CI").is_some()
        || std::env::var("DEPUTY_BROWSER").is_ok_and(|v| v == "required");
    let skip = |why: &str| {
        assert!(!required, "the browser is required, and {why}");
        eprintln!("skipped: {why}");
        None
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    let Some(browser) = Browser::open(name, &url) else {
        return skip("there is no Chromium");
    };
    let json = serde_json::to_string(shaders).expect("plain data");
    let page = serve(listener, json);
    let body = loop {
        match page.recv_timeout(PATIENCE) {
            Ok(Said::Alive) => {}
            Ok(Said::Report(body)) => break body,
            Err(e) => panic!("no report ({e}); Chromium said:\n{}", browser.said()),
        }
    };
    drop(browser);
    let report: Report = serde_json::from_slice(&body).expect("the page posts a report");
    assert_eq!(report.failure, None, "the page failed");
    match &report.adapter {
        None => skip("Chromium has no WebGPU adapter"),
        Some(adapter) => {
            eprintln!("Chromium's adapter: {adapter}");
            Some(report)
        }
    }
}

/// What comes from the page while it works.
enum Said {
    Alive,
    Report(Vec<u8>),
}

/// Answers requests from threads of their own, since browsers open connections before they need them, until the
/// process ends.
fn serve(listener: TcpListener, shaders: String) -> mpsc::Receiver<Said> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (sender, shaders) = (sender.clone(), shaders.clone());
            // A connection that breaks is the browser's business: without a report the test fails.
            std::thread::spawn(move || answer(stream, &shaders, &sender));
        }
    });
    receiver
}

fn answer(stream: TcpStream, shaders: &str, page: &mpsc::Sender<Said>) -> io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut n_bytes = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                n_bytes = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; n_bytes];
    reader.read_exact(&mut body)?;
    let (status, kind, content, said) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", "text/html", PAGE, None),
        Some("/shaders.json") => ("200 OK", "application/json", shaders, None),
        Some("/alive") => ("200 OK", "text/plain", "", Some(Said::Alive)),
        Some("/report") => ("200 OK", "text/plain", "", Some(Said::Report(body))),
        _ => ("404 Not Found", "text/plain", "", None),
    };
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{content}",
        content.len()
    )?;
    // The receiver is gone where a second report comes; the first one counts.
    said.map_or(Ok(()), |said| page.send(said).map_err(io::Error::other))
}

/// A running Chromium with a profile of its own.
struct Browser {
    process: Child,
    profile: std::path::PathBuf,
}

impl Browser {
    fn open(name: &str, url: &str) -> Option<Self> {
        let profile = std::env::temp_dir().join(format!("deputy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("a folder for the profile");
        let log = || std::fs::File::create(profile.join("stderr")).expect("a file in it");
        let process = PROGRAMS.iter().find_map(|program| {
            Command::new(program)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--enable-unsafe-webgpu",
                    "--use-webgpu-adapter=swiftshader",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                ])
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg(url)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log())
                .spawn()
                .ok()
        });
        let Some(process) = process else {
            std::fs::remove_dir_all(&profile).expect("the folder is ours");
            return None;
        };
        Some(Self { process, profile })
    }

    /// The last lines that it printed.
    fn said(&self) -> String {
        let said = std::fs::read_to_string(self.profile.join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        // Its children take a moment to notice, and write to the profile until then.
        let removed = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            std::fs::remove_dir_all(&self.profile).is_ok()
        });
        if ended.is_err() || !removed {
            eprintln!("left behind: {:?}, {}", ended, self.profile.display());
        }
    }
}

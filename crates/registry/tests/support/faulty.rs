//! A registry in memory that misbehaves on order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Gate, Length, Piece, Reply, Request, Server};
use super::image::{Content, Image};

/// What goes wrong with an answer.
#[derive(Clone)]
pub(crate) enum Fault {
    /// All but the last byte come; that one when the gate opens.
    WithholdLastByte(Gate),
    /// As many bytes come, the rest when the gate opens.
    StallAfter(usize, Gate),
    /// As many bytes come, then the connection ends.
    TruncateAfter(usize),
    /// As many bytes at a time, with a pause between.
    Slow(usize, Duration),
    /// One bit is wrong.
    Corrupt,
    /// A 200 with the whole content, whatever `Range` says.
    IgnoreRange,
    /// Something else entirely: other bytes, a 401, 429 or 500, a redirect.
    Instead(Reply),
}

/// A fault, for whom, and how often.
struct Order {
    path: String,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository and tag or digest.
    manifests: HashMap<(String, String), Content>,
    orders: Vec<Order>,
}

/// The registry; it ends when dropped.
pub(crate) struct Faulty {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

impl Faulty {
    /// Starts without content and without faults.
    pub(crate) fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        Self {
            server: Server::start(move |request| shared.lock().unwrap().answer(request)),
            state,
        }
    }

    /// `127.0.0.1:port`, the domain of its images.
    pub(crate) fn domain(&self) -> String {
        self.server.address.to_string()
    }

    /// Has this image under a tag; gives its manifest.
    pub(crate) fn add(&self, repository: &str, tag: &str, image: &Image) -> Content {
        let manifest = image.manifest();
        self.add_manifest(repository, tag, &manifest);
        for content in image.layers.iter().chain([&image.config]) {
            self.add_blob(content);
        }
        manifest
    }

    /// Has this blob, in all repositories.
    pub(crate) fn add_blob(&self, content: &Content) {
        self.state
            .lock()
            .unwrap()
            .blobs
            .insert(content.digest().to_string(), content.bytes.clone());
    }

    /// Has this manifest or index under a tag and under its digest.
    pub(crate) fn add_manifest(&self, repository: &str, tag: &str, manifest: &Content) {
        let mut state = self.state.lock().unwrap();
        for name in [tag.to_owned(), manifest.digest().to_string()] {
            state.manifests.insert((repository.to_owned(), name), manifest.clone());
        }
    }

    /// The next `times` answers for a path that contains `path` have this fault.
    pub(crate) fn order(&self, path: &str, fault: Fault, times: usize) {
        self.state.lock().unwrap().orders.push(Order {
            path: path.to_owned(),
            fault,
            left: times,
        });
    }

    /// Takes back what was ordered and has not happened.
    pub(crate) fn forget_orders(&self) {
        self.state.lock().unwrap().orders.clear();
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let order = self
            .orders
            .iter_mut()
            .find(|order| order.left > 0 && request.path.contains(&order.path));
        let fault = order.map(|order| {
            order.left -= 1;
            order.fault.clone()
        });
        if let Some(Fault::Instead(reply)) = fault {
            return reply;
        }
        match self.find(&request.path) {
            Ok(content) => faulty(request, content, fault),
            Err(reply) => reply,
        }
    }

    fn find(&self, path: &str) -> Result<Content, Reply> {
        let Some(path) = path.strip_prefix("/v2/") else {
            return Err(Reply::new(404, "text/plain", "no page"));
        };
        if path.is_empty() {
            return Err(Reply::new(200, "application/json", "{}"));
        }
        if let Some((_, digest)) = path.split_once("/blobs/") {
            let blob = self
                .blobs
                .get(digest)
                .map(|bytes| Content::new("application/octet-stream", bytes.clone()));
            return blob.ok_or_else(|| Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
        }
        let (repository, name) = path.split_once("/manifests/").unwrap_or_default();
        if !self.manifests.keys().any(|(known, _)| known == repository) {
            return Err(Reply::error(
                404,
                "NAME_UNKNOWN",
                "repository name not known to registry",
            ));
        }
        let manifest = self.manifests.get(&(repository.to_owned(), name.to_owned())).cloned();
        manifest.ok_or_else(|| Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"))
    }
}

fn faulty(request: &Request, content: Content, fault: Option<Fault>) -> Reply {
    // As registries do, so that it is seen what comes wrong by a tag.
    let digest = request
        .path
        .contains("/manifests/")
        .then(|| content.digest().to_string());
    let all = content.bytes;
    let part = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .and_then(|(start, last)| Some((start.parse::<usize>().ok()?, last.parse().unwrap_or(usize::MAX))));
    let part = part.filter(|(start, _)| *start < all.len() && !matches!(fault, Some(Fault::IgnoreRange)));
    let part = part.map(|(start, last)| (start, last.min(all.len() - 1)));
    let (mut reply, mut rest) = match part {
        Some((start, last)) => {
            let range = format!("bytes {start}-{last}/{}", all.len());
            let reply = Reply::new(206, &content.media_type, "").header("Content-Range", &range);
            (reply, all[start..=last].to_vec())
        }
        None => (Reply::new(200, &content.media_type, ""), all),
    };
    reply.length = Length::Announced(rest.len());
    if let Some(digest) = digest {
        reply = reply.header("Docker-Content-Digest", &digest);
    }
    let split = |at: usize| (rest[..at.min(rest.len())].to_vec(), rest[at.min(rest.len())..].to_vec());
    reply.body = match fault {
        Some(Fault::WithholdLastByte(gate)) => {
            let (most, last) = split(rest.len().saturating_sub(1));
            vec![Piece::Bytes(most), Piece::Wait(gate), Piece::Bytes(last)]
        }
        Some(Fault::StallAfter(at, gate)) => {
            let (before, after) = split(at);
            vec![Piece::Bytes(before), Piece::Wait(gate), Piece::Bytes(after)]
        }
        Some(Fault::TruncateAfter(at)) => vec![Piece::Bytes(split(at).0), Piece::Close],
        Some(Fault::Slow(step, pause)) => rest
            .chunks(step)
            .flat_map(|chunk| [Piece::Bytes(chunk.to_vec()), Piece::Pause(pause)])
            .collect(),
        Some(Fault::Corrupt) => {
            if let Some(byte) = rest.last_mut() {
                *byte ^= 1;
            }
            vec![Piece::Bytes(rest)]
        }
        Some(Fault::IgnoreRange | Fault::Instead(_)) | None => vec![Piece::Bytes(rest)],
    };
    reply
}

//! The service as a process with a memory limit.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// A running service, killed when dropped.
pub struct Limited {
    pub address: SocketAddr,
    process: Mutex<Child>,
    id: u32,
    group: Option<Group>,
    folder: tempfile::TempDir,
}

/// A control group with a memory limit, which includes the kernel's memory for sockets.
struct Group {
    folder: PathBuf,
    peak: PathBuf,
}

impl Group {
    /// Creates a group, if this user has the right.
    fn make(limit: u64) -> Option<Self> {
        let name = format!("signup-memory-{}", std::process::id());
        for (root, limit_file, peak_file) in [
            ("/sys/fs/cgroup", "memory.max", "memory.peak"),
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
            ),
        ] {
            let folder = Path::new(root).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let limited = std::fs::write(folder.join(limit_file), limit.to_string());
            if limited.is_ok() && folder.join("cgroup.procs").exists() {
                let peak = folder.join(peak_file);
                return Some(Self { folder, peak });
            }
            let _ = std::fs::remove_dir(&folder);
        }
        None
    }
}

impl Limited {
    /// Starts the service in a control group with this limit in bytes; if that is impossible, with
    /// this limit of data, by `ulimit -d`.
    pub fn start(limit: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let group = Group::make(limit);
        let confine = match &group {
            Some(group) => format!("echo $$ > {}/cgroup.procs", group.folder.display()),
            None => format!("ulimit -d {}", limit / 1024),
        };
        let url = format!("sqlite://{}/signup.db", folder.path().display());
        let mut process = Command::new("sh")
            .args(["-c", &format!("{confine} && exec \"$0\"")])
            .arg(env!("CARGO_BIN_EXE_signup-service"))
            .env_clear()
            .envs(throwaway_servers::counters())
            .envs([
                ("DATABASE_URL", url.as_str()),
                ("PORT", "0"),
                ("BCRYPT_COST", "8"),
                ("LOG_FORMAT", "json"),
                // The attackers have no account, and are to reach the database.
                ("READS", "open"),
                ("EMAIL_VERIFICATION", "off"),
                ("ADMIN_PORT", "0"),
                ("RUST_LOG", "info,signup_service::http::middleware=warn"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = loop {
            let line = lines.next().expect("it starts").expect("text");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "ready: listening" {
                break line["address"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("an address");
            }
        };
        // The rest of the log must be read.
        std::thread::spawn(move || lines.for_each(drop));
        let id = process.id();
        Self {
            address,
            process: Mutex::new(process),
            id,
            group,
            folder,
        }
    }

    pub fn limited_by(&self) -> &'static str {
        match self.group {
            Some(_) => "a control group",
            None => "ulimit -d",
        }
    }

    /// Whether the service sees the limit: it is that of its control group.
    pub fn knows_its_limit(&self) -> bool {
        self.group.is_some()
    }

    /// How many connections the service has closed because all together held too much.
    pub async fn cut_for_memory(&self) -> u64 {
        let url = format!("http://{}/metrics", self.address);
        let response = reqwest::get(url).await.expect("a response");
        let text = response.text().await.expect("a text");
        let line = "http_connections_cut_total{reason=\"memory\"} ";
        let count = text.lines().find_map(|found| found.strip_prefix(line));
        count.and_then(|count| count.parse().ok()).expect(line)
    }

    /// Inserts a page of users with the longest possible names.
    pub fn fill_with_the_largest_users(&self) {
        let name = "\u{1f9d1}".repeat(255);
        let rows: Vec<String> = (0..100)
            .map(|n| {
                format!("(randomblob(16), '{name}', '{n}@example.org', '{n}@example.org', '{name}', {n})")
            })
            .collect();
        let sql = format!(
            "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) VALUES {}",
            rows.join(",")
        );
        let file = self.folder.path().join("signup.db");
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                use sqlx::{Connection, Executor};
                let url = format!("sqlite://{}", file.display());
                let mut database = sqlx::SqliteConnection::connect(&url).await.expect("opens");
                database
                    .execute(sqlx::AssertSqlSafe(sql))
                    .await
                    .expect("inserted");
            });
        });
    }

    /// The peak resident memory of the process, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// A description of the memory use.
    pub fn memory(&self) -> String {
        const MIB: u64 = 1024 * 1024;
        let group = self.group.as_ref().and_then(|group| {
            let text = std::fs::read_to_string(&group.peak).ok()?;
            let peak: u64 = text.trim().parse().ok()?;
            Some(format!(", the group {} MiB at most", peak / MIB))
        });
        format!(
            "the process {} MiB, {} MiB at most{}",
            self.status("VmRSS:") / MIB,
            self.peak_bytes() / MIB,
            group.unwrap_or_default()
        )
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }

    pub fn assert_alive(&self, after: &str) {
        let mut process = self.process.lock().expect("no panic");
        let ended = process.try_wait().expect("a child");
        assert!(ended.is_none(), "after {after} it ended: {ended:?}");
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let process = self.process.get_mut().expect("no panic");
        let _ = process.kill();
        let _ = process.wait();
        if let Some(group) = &self.group {
            let _ = std::fs::remove_dir(&group.folder);
        }
    }
}

//! A PostgreSQL server for scripts: prints the URL of an empty database, and runs until its standard
//! input ends.

use std::io::Read;

fn main() {
    let database = throwaway_servers::postgres::server().database();
    println!("{}", database.url());
    let mut nothing = Vec::new();
    // An error ends the server, too.
    let _ = std::io::stdin().read_to_end(&mut nothing);
}

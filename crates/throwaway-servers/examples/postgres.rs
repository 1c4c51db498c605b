//! A PostgreSQL for a script: prints the URL of an empty database, and is there until its standard
//! input ends.

use std::io::Read;

fn main() {
    let database = throwaway_servers::postgres::server().database();
    println!("{}", database.url());
    let mut nothing = Vec::new();
    // Whatever ends the input ends the server.
    let _ = std::io::stdin().read_to_end(&mut nothing);
}

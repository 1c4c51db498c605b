//! For operators of the service, and developers of its clients: health, metrics, documentation.

slices![docs, health, metrics];

package store

// ReadChunks is for tests that read rows themselves.
var ReadChunks = readChunks

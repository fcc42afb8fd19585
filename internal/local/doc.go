// Package local runs the two services that processor needs, on this machine and for one user only: an embedded
// nats-server and a private PostgreSQL. `processor dev` and the tests use it; `processor run` never does.
//
// What it promises:
//
//   - Nothing of anybody else is touched. Both listen on the loopback interface only, the database asks for a generated
//     password, the environment's PG variables do not reach the server, and a process is only ever signalled when it is
//     our child or provably the postmaster of our own data directory.
//   - A killed parent leaves nothing behind. On Linux the kernel tells the server when its parent dies; elsewhere, and in
//     the moment in between, the next start finds the old server by its data directory and stops it first.
//   - An interruption at any point is repaired by the next start. The data directory is made under another name and
//     renamed when it is complete; the lock that keeps a second user out is the kernel's, and dies with its holder.
//   - What stops comes back where it was: Restart keeps the port and the data, so clients reconnect with what they have.
//
// # Running as root
//
// PostgreSQL refuses to run as root, so as root it runs as the user that owns the data already, else as postgres, else
// as nobody. That user often cannot enter the folders above the data (a checkout in root's home, a test's temporary
// folder), which is why on Linux the server is given the folder as an open file and reaches it as /proc/self/fd/3:
// looser modes on folders that are not ours, or data far away from the --dir that a person asked for, would be the
// alternatives.
package local

// Package dashboard serves the runs of a database to a browser on the same machine: one page, a JSON API below /api/, and
// a stream of what is recorded while the page looks on. It reads, and never trains.
//
// The stream is made of server-sent events. The id of each event is a position in every run that the page shows, so that
// a browser which comes back, by itself or after the server was started anew, gets what it has missed and nothing twice.
// Changes are found by asking SQLite a few times a second whether anyone has written, and only while somebody listens.
// Each browser is served by its own goroutine from the file: a slow one holds up nobody.
//
// The page is plain HTML, CSS and JavaScript in static/, in the binary as it is in the repository.
package dashboard

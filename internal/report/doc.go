// Package report writes runs as one HTML file that shows everything about them and needs nothing else: no network, no server,
// no other file. It can be sent by mail, kept beside an adapter, printed, and read without JavaScript.
//
// Write takes what the database holds, and a few things that only the caller knows, such as which settings differ from the
// defaults. What people have written (names, notes, prompts, replies) is text in the file and never markup.
//
// A run of many steps is thinned: of each part of it the lowest and the highest value of every curve stay, so that no peak
// is lost, and the file stays small. The page says so.
package report

// Package web shows a run as one page in a browser, for those who do not sit at
// the terminal that it was started from.
//
// The stream of typed events is all that it gets. It must not know how a run
// works, and it can never slow one: a browser that reads slowly gets the newest
// of what it missed, and one that does not read at all is cut off. It asks for
// nothing but what is embedded here.
package web

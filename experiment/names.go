package experiment

import "strconv"

// nodeName names the i-th node, from 0, of a group: "worker-1".
func nodeName(group string, i int) string { return group + "-" + strconv.Itoa(i+1) }

// Nearest returns the legal name that given was probably meant to be, or "".
func Nearest(given string, legal []string) string { return nearest(given, legal) }

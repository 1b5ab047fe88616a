package experiment

import "strconv"

// nodeName names the i-th node, from 0, of a group: "worker-1".
func nodeName(group string, i int) string { return group + "-" + strconv.Itoa(i+1) }

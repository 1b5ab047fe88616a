// Package campaign runs a plan: it opens the testbed, takes every cell through
// its life, and puts the testbed back as it was. It ties the other packages
// together and emits one stream of typed events, which it journals before
// anybody else sees them. It knows no terminal and no command line.
package campaign

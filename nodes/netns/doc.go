// Package netns makes many real hosts out of one Linux machine: network
// namespaces on a bridge, each with OpenSSH's own server, its own processes,
// control groups, host name and writable directories.
//
// It exists so that what bela does to machines, over real links that can be cut
// and through gateways, is tested before anybody lends it machines. It is for
// tests and for people who try things; bela itself does not know it. It needs
// root, iproute2, nftables, util-linux and openssh-server.
//
// A node is a process that is the first of its own PID namespace; all else on
// the node ends with it, and the kernel takes the links and mounts back. It
// lives as long as the process that made the bed, unless Options.Keep is set,
// so that a bed whose owner was killed leaves only directories; Up and Down
// find those again by name.
//
// A node sees the machine's own files, read only. What it can write is in
// memory and its own: /root, /home, /tmp, /run, /var/tmp, /var/log, /dev/shm,
// and /etc/ssh. The kernel, its clock, CPU and memory are shared by all.
package netns

// Command pause is all there is in the node's own image. Without arguments it holds a pod's namespaces open. With those
// that local-path-provisioner gives its helper pod (-p path -s size -m mode -a create|delete) it makes or removes the
// folder of a volume.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	path := flag.String("p", "", "the volume's folder")
	action := flag.String("a", "", "create or delete")
	flag.Int64("s", 0, "the volume's size; a folder has none")
	flag.String("m", "", "Block or Filesystem; a folder is the latter")
	flag.Parse()

	var err error
	switch *action {
	case "":
		pause()
	case "create":
		err = create(*path)
	case "delete":
		err = os.RemoveAll(*path)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// pause returns when it is told to end; until then it is the pod's first process and takes the orphans in.
func pause() {
	signal.Ignore(syscall.SIGCHLD) // the kernel reaps them
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}

// create makes a folder that any user may write to; a pod with an fsGroup gets it for its group.
func create(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o777) // whatever the umask
}

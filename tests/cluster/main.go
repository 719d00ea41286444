// Command ecr-pull-secrets-test-cluster is a Kubernetes control plane in one
// program. It can run as each of its parts, and it can run all of them together
// for as long as a test needs them.
//
//	up        etcd, kube-apiserver and kube-controller-manager on loopback;
//	          with --node also a node that runs pods
//	sweep     removes what a killed cluster with a node left behind
//	lifeline  a command that ends at the latest with its starter
//	NAME      the program with this name: etcd, kube-apiserver, kubectl, …
//
// Called through a link with the name of a program, it runs as that program.
// Without --node it needs neither root nor a container engine, and listens on
// loopback only.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"ecr-pull-secrets.dev/tests/cluster/component"
	"ecr-pull-secrets.dev/tests/cluster/internal/lifeline"
	"ecr-pull-secrets.dev/tests/cluster/internal/up"
)

const usage = `usage: ecr-pull-secrets-test-cluster up --dir DIR [flags]
       ecr-pull-secrets-test-cluster sweep [DIR]
       ecr-pull-secrets-test-cluster lifeline -- COMMAND [ARGUMENT…]
       ecr-pull-secrets-test-cluster PROGRAM [ARGUMENT…]
`

func main() {
	if run, ok := component.Lookup(filepath.Base(os.Args[0])); ok {
		os.Exit(run())
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	switch verb, args := os.Args[1], os.Args[2:]; verb {
	case "up":
		os.Exit(up.Main(args))
	case "inside":
		os.Exit(up.Inside(args))
	case "sweep":
		os.Exit(up.Sweep(args))
	case "lifeline":
		os.Exit(lifeline.Main(args))
	default:
		run, ok := component.Lookup(verb)
		if !ok {
			fmt.Fprintf(os.Stderr, "no such program: %s\n%s", verb, usage)
			os.Exit(2)
		}
		// The programs read os.Args and expect their own name in argv[0].
		os.Args = os.Args[1:]
		os.Exit(run())
	}
}

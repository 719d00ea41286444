// Package options parses the command line of `up` and merges the user's flags
// for a component with ours. It is pure: no file, no process, no environment.
package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/mirror"
	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

// Options is the command line of `up`.
type Options struct {
	// Dir is the folder of everything that the cluster writes. It is removed with
	// the cluster.
	Dir string
	// Keep keeps Dir after the end, for inspection of logs and data.
	Keep bool
	// Audit makes kube-apiserver write an audit log at level Metadata.
	Audit bool
	// Wait is the time limit for the cluster to become ready.
	Wait time.Duration
	// Routes are the services that have addresses from the start.
	Routes []route.Route
	// Node adds a node to the control plane.
	Node bool
	// Containerd is the path of containerd, or empty for the one on PATH.
	Containerd string
	// Images are archives of images that are imported at the start.
	Images []string
	// Mirrors are the registries whose images a stand-in serves from the start.
	Mirrors []mirror.Mirror
	// Ports are the ports on this machine's loopback that pods reach.
	Ports []int
	// Arguments are the user's flags for a component, keyed by its name.
	Arguments map[string][]string
}

// Components are the components that take flags of the user, in the order in
// which they start.
var Components = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet",
}

// ofNode are the flags that need a node.
var ofNode = []string{"containerd", "image", "registry", "host-port", "kube-scheduler-arg", "kube-proxy-arg", "kubelet-arg"}

// Parse parses the arguments after `up`. It writes help and errors to the writer.
func Parse(args []string, output io.Writer) (Options, error) {
	options := Options{Arguments: map[string][]string{}}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&options.Dir, "dir", "", "folder of the cluster: absent, empty, or left behind by a killed cluster (required)")
	flags.BoolVar(&options.Keep, "keep", false, "keep the folder after the end")
	flags.BoolVar(&options.Audit, "audit", false, "write an audit log")
	flags.DurationVar(&options.Wait, "wait", 2*time.Minute, "time limit for the cluster to become ready")
	flags.Func("service", "`NAMESPACE/NAME=HOST:PORT,…`: addresses for the API server's calls to a Service (repeatable)", func(text string) error {
		parsed, err := route.Parse(text)
		if err == nil {
			options.Routes = append(options.Routes, parsed)
		}
		return err
	})
	flags.BoolVar(&options.Node, "node", false, "add a node that runs pods (needs root and Linux)")
	flags.StringVar(&options.Containerd, "containerd", "", "`path` of containerd, with its shim and ctr beside it (default: the one on PATH)")
	flags.Func("image", "`path` of an archive of images, for the node (repeatable)", func(text string) error {
		// Absolute, because the working directory changes.
		path, err := filepath.Abs(text)
		options.Images = append(options.Images, path)
		return err
	})
	flags.Func("registry", "`HOST=http://127.0.0.1:PORT`: address that serves the images of a registry (repeatable)", func(text string) error {
		parsed, err := mirror.Parse(text)
		options.Mirrors = append(options.Mirrors, parsed)
		return err
	})
	flags.Func("host-port", "a `port` on this machine's loopback that pods reach (repeatable)", func(text string) error {
		parsed, err := ParsePort(text)
		options.Ports = append(options.Ports, parsed)
		return err
	})
	for _, name := range Components {
		flags.Func(name+"-arg", "a `--flag=value` for "+name+" (repeatable); replaces ours of the same name", func(text string) error {
			if !strings.HasPrefix(text, "--") {
				return errors.New("want --flag or --flag=value")
			}
			options.Arguments[name] = append(options.Arguments[name], text)
			return nil
		})
	}
	if err := flags.Parse(args); err != nil {
		return Options{}, err
	}
	if flags.NArg() > 0 {
		return Options{}, errors.New("unexpected argument: " + flags.Arg(0))
	}
	if options.Dir == "" {
		return Options{}, errors.New("--dir is required")
	}
	if !options.Node {
		var err error
		flags.Visit(func(given *flag.Flag) {
			if slices.Contains(ofNode, given.Name) {
				err = fmt.Errorf("--%s needs --node", given.Name)
			}
		})
		if err != nil {
			return Options{}, err
		}
	}
	return options, nil
}

// ParsePort parses the number of a TCP port.
func ParsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q: want a port from 1 to 65535", text)
	}
	return int(port), nil
}

// Merge appends the extra flags to ours and drops each flag of ours with the name
// of an extra one. Some flags are lists, to which a second value would be added.
func Merge(ours, extra []string) []string {
	replaced := map[string]bool{}
	for _, argument := range extra {
		replaced[flagName(argument)] = true
	}
	var merged []string
	for _, argument := range ours {
		if !replaced[flagName(argument)] {
			merged = append(merged, argument)
		}
	}
	return append(merged, extra...)
}

func flagName(argument string) string {
	name, _, _ := strings.Cut(argument, "=")
	return name
}

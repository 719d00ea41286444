package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ecr-pull-secrets.dev/tests/cluster/internal/child"
	"ecr-pull-secrets.dev/tests/cluster/internal/image"
	"ecr-pull-secrets.dev/tests/cluster/internal/mirror"
	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/options"
)

// nodeReport describes a node.
type nodeReport struct {
	Name string `json:"name"`
	// HostIP is this machine's address for pods.
	HostIP string `json:"host_ip"`
	// NodeIP is the node's address, which also has the shared ports for pods.
	NodeIP string `json:"node_ip"`
	// PauseImage is the image of an application that does nothing.
	PauseImage string `json:"pause_image"`
	// Containerd is the path of containerd's socket, for ctr.
	Containerd string `json:"containerd"`
}

// runtime is the part of a node beside its components: images, registries, and
// ports of the machine.
type runtime struct {
	in       *folder
	programs node.Programs
	images   []string
	mirrors  []mirror.Mirror
	ports    []int
	// start is the folder that the user's paths are relative to.
	start string
}

func newRuntime(in *folder, wanted options.Options) (*runtime, error) {
	programs, err := node.Find(wanted.Containerd)
	if err != nil {
		return nil, err
	}
	start, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	pause, err := writePause(in)
	if err != nil {
		return nil, fmt.Errorf("cannot make the pause image: %w", err)
	}
	return &runtime{
		in:       in,
		programs: programs,
		images:   append([]string{pause}, wanted.Images...),
		mirrors:  wanted.Mirrors,
		ports:    wanted.Ports,
		start:    start,
	}, nil
}

// writePause makes the image from the program beside this one.
func writePause(in *folder) (path string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	program, err := os.ReadFile(filepath.Join(filepath.Dir(self), "pause"))
	if err != nil {
		return "", err
	}
	archive, err := image.Program(node.PauseImage, node.Architecture, "pause", program)
	if err != nil {
		return "", err
	}
	return in.write("node/pause.tar", archive)
}

func (r *runtime) report() *nodeReport {
	return &nodeReport{
		Name:       node.Name,
		HostIP:     node.HostAddress,
		NodeIP:     node.Address,
		PauseImage: node.PauseImage,
		Containerd: r.in.at(node.Socket), // the cluster's /run is in its folder
	}
}

// nodeComponents writes the files that the components of a node read.
func nodeComponents(in *folder, with *credentials, programs node.Programs) ([]*component, error) {
	for _, each := range []string{"networks", "registries", "plugins"} {
		if err := os.MkdirAll(in.at("node", each), 0o700); err != nil {
			return nil, err
		}
	}
	for _, each := range []struct {
		name    string
		content []byte
	}{
		{"resolv.conf", nil},
		{"networks/pods.conflist", node.Network()},
		{"containerd.toml", node.Containerd(programs.Plugins, in.at("node", "networks"), in.at("node", "registries"))},
		{"kubelet.yaml", node.Kubelet(with.authority, in.at("node", "resolv.conf"), in.at("node", "plugins"))},
	} {
		if _, err := in.write("node/"+each.name, each.content); err != nil {
			return nil, err
		}
	}
	// containerd finds the shim on PATH.
	if err := os.Symlink(programs.Shim, in.at("bin", filepath.Base(programs.Shim))); err != nil {
		return nil, err
	}
	return []*component{
		{
			name: "containerd", program: programs.Containerd,
			args:  []string{"--config=" + in.at("node", "containerd.toml")},
			ready: containerdReady,
		},
		{name: "kube-scheduler", args: schedulerFlags(with)},
		{name: "kube-proxy", args: node.ProxyFlags(with.proxy)},
		{name: "kubelet", args: node.KubeletFlags(with.kubelet, in.at("node", "kubelet.yaml"))},
	}, nil
}

func containerdReady(ctx context.Context) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", node.Socket)
	if err == nil {
		connection.Close()
	}
	return err
}

// prepareNode does everything that needs no API server. The channel yields its
// result.
func (c *cluster) prepareNode(ctx context.Context) <-chan error {
	outcome := make(chan error, 1)
	if c.node == nil {
		outcome <- nil
		return outcome
	}
	go func() {
		outcome <- func() error {
			for _, each := range c.node.mirrors {
				if err := c.mirror(each); err != nil {
					return err
				}
			}
			for _, each := range c.node.ports {
				if err := c.inside.Share(each); err != nil {
					return err
				}
			}
			if err := c.start(ctx, "containerd"); err != nil {
				return err
			}
			for _, each := range c.node.images {
				if err := c.node.load(each); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	return outcome
}

// bootNode starts the node's components, which need an API server, and waits
// until pods can run and reach Services.
func (c *cluster) bootNode(ctx context.Context, prepared <-chan error) error {
	if c.node == nil {
		return nil
	}
	for _, name := range []string{"kube-scheduler", "kube-proxy"} {
		if err := c.start(ctx, name); err != nil {
			return err
		}
	}
	if err := <-prepared; err != nil {
		return err
	}
	if err := c.start(ctx, "kubelet"); err != nil {
		return err
	}
	if err := await(ctx, c.limit, "the node is not ready", c.api.nodeReady); err != nil {
		return err
	}
	return await(ctx, c.limit, "Services do not work", c.api.proxyReady)
}

// load imports an archive of images into containerd.
func (r *runtime) load(path string) error {
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.start, path)
	}
	log, err := os.OpenFile(r.in.at("logs", "images.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(r.programs.Ctr, "--address="+node.Socket, "--namespace=k8s.io", "images", "import", path)
	command.Env = environment(os.Environ())
	command.Stdout, command.Stderr = log, log
	running, err := child.Start(command)
	if err != nil {
		return err
	}
	if running.ExitCode() != 0 {
		return fmt.Errorf("cannot import %s: %s; the end of the log:\n%s", path, running.State(), tail(log.Name()))
	}
	return nil
}

// mirror makes containerd pull a registry's images from the machine's loopback.
func (c *cluster) mirror(of mirror.Mirror) error {
	if err := c.inside.Share(int(of.At.Port())); err != nil {
		return err
	}
	return of.Write(c.in.at("node", "registries"))
}

func (c *cluster) executeOnNode(_ context.Context, verb string, arguments []string) error {
	if c.node == nil {
		return fmt.Errorf("%s: this cluster has no node", verb)
	}
	switch {
	case verb == "image" && len(arguments) > 0:
		return c.node.load(strings.Join(arguments, " "))
	case verb == "registry" && len(arguments) == 2:
		made, err := mirror.New(arguments[0], arguments[1])
		if err != nil {
			return err
		}
		return c.mirror(made)
	case verb == "host-port" && len(arguments) == 1:
		port, err := options.ParsePort(arguments[0])
		if err != nil {
			return err
		}
		return c.inside.Share(port)
	default:
		return errors.New("want: image PATH, registry HOST http://127.0.0.1:PORT, or host-port PORT")
	}
}

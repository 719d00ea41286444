package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"ecr-pull-secrets.dev/tests/cluster/internal/child"
	"ecr-pull-secrets.dev/tests/cluster/internal/options"
)

// component is one process of the cluster, across its restarts.
type component struct {
	name string
	args []string
	// ready checks whether it serves; nil if it has no such check.
	ready func(context.Context) error
	// program is the path of its program, or empty for this program.
	program string

	running *child.Child // nil when stopped
}

// components are the processes of a cluster. An unexpected end of a process is
// reported to `died`.
type components struct {
	in   *folder
	died func(error)
	// outside translates a process id to the machine's id.
	outside func(pid int) int

	lock  sync.Mutex
	order []*component
}

func (c *components) add(added *component) error {
	link := c.link
	if added.program != "" {
		link = func(name string) error { return os.Symlink(added.program, c.in.at("bin", name)) }
	}
	if err := link(added.name); err != nil {
		return err
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.order = append(c.order, added)
	return nil
}

// link links a program into the cluster's folder, under its name: that of
// KUBEBUILDER_ASSETS if it exists, otherwise this program.
func (c *components) link(name string) error {
	target, err := os.Executable()
	if err != nil {
		return err
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		given, err := filepath.Abs(filepath.Join(assets, name))
		if err != nil {
			return err
		}
		if _, err := os.Stat(given); err == nil {
			target = given
		}
	}
	return os.Symlink(target, c.in.at("bin", name))
}

// change replaces flags of a stopped component.
func (c *components) change(name string, flags []string) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	found, err := c.find(name)
	if err != nil {
		return err
	}
	if found.running != nil {
		return fmt.Errorf("%s already runs", name)
	}
	found.args = options.Merge(found.args, flags)
	return nil
}

// start starts a stopped component. It does not wait for readiness.
func (c *components) start(name string) (*component, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	found, err := c.find(name)
	if err != nil {
		return nil, err
	}
	if found.running != nil {
		return nil, fmt.Errorf("%s already runs", name)
	}

	log, err := os.OpenFile(c.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	command := exec.Command(c.in.at("bin", name), found.args...)
	command.Dir = c.in.path
	command.Env = environment(os.Environ())
	command.Stdout, command.Stderr = log, log
	running, err := child.Start(command)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	found.running = running
	go c.watch(found, running)
	return found, nil
}

// watch waits for the end of a process and reports an unexpected end. An intended
// end clears `running` first.
func (c *components) watch(of *component, process *child.Child) {
	<-process.Done()
	c.lock.Lock()
	unexpected := of.running == process
	c.lock.Unlock()
	if unexpected {
		c.died(fmt.Errorf("%s died (%s); the end of its log:\n%s", of.name, process.State(), tail(c.log(of.name))))
	}
}

// stop kills a component and returns once it has ended.
func (c *components) stop(name string) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	found, err := c.findRunning(name)
	if err != nil {
		return err
	}
	process := found.running
	found.running = nil
	process.Kill()
	return nil
}

// signal sends a signal to a running component.
func (c *components) signal(name string, signal syscall.Signal) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	found, err := c.findRunning(name)
	if err != nil {
		return err
	}
	return found.running.Signal(signal)
}

// stopAll kills every component, the last one first. It uses SIGKILL, because no
// later cluster reads the data.
func (c *components) stopAll() {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, each := range slices.Backward(c.order) {
		if process := each.running; process != nil {
			each.running = nil
			process.Kill()
		}
	}
}

// pids are the process ids of the running components.
func (c *components) pids() map[string]int {
	c.lock.Lock()
	defer c.lock.Unlock()
	pids := map[string]int{}
	for _, each := range c.order {
		if each.running != nil {
			pids[each.name] = c.outside(each.running.Pid())
		}
	}
	return pids
}

func (c *components) find(name string) (*component, error) {
	for _, each := range c.order {
		if each.name == name {
			return each, nil
		}
	}
	return nil, fmt.Errorf("no such component: %q", name)
}

func (c *components) findRunning(name string) (*component, error) {
	found, err := c.find(name)
	if err == nil && found.running == nil {
		err = errors.New(name + " does not run")
	}
	return found, err
}

func (c *components) log(name string) string { return c.in.at("logs", name+".log") }

// environment removes the variables that would change a component: an HTTP proxy
// between the API server and its webhooks, and etcd's own settings.
func environment(of []string) []string {
	return slices.DeleteFunc(slices.Clone(of), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		name = strings.ToUpper(name)
		return strings.HasSuffix(name, "_PROXY") || strings.HasPrefix(name, "ETCD_") || strings.HasPrefix(name, "KUBERNETES_")
	})
}

// tail returns the last lines of a file, or the error that prevents it.
func tail(path string) string {
	const lines = 30
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

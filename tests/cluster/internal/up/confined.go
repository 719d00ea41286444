package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"ecr-pull-secrets.dev/tests/cluster/internal/child"
	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/options"
)

// insideVerb is the verb with which this program starts itself in the namespaces
// of a node. Its arguments are those of `up`.
const insideVerb = "inside"

// errReported is a failure that the process inside has reported on stderr.
var errReported = errors.New("the cluster failed")

// runConfined runs a cluster with a node: it starts this program as the first
// process of new namespaces, where that process acts as `up`. Everything in the
// namespaces ends with it. This function removes what the kernel does not remove.
func runConfined(ctx context.Context, wanted options.Options, args []string, end context.CancelCauseFunc) (err error) {
	if _, err := node.Find(wanted.Containerd); err != nil {
		return err
	}
	if err := node.CheckFolder(wanted.Dir); err != nil {
		return err
	}
	reserved, err := node.Reserve(wanted.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reserved.Release()) }()
	in, err := claim(wanted.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.release(wanted.Keep)) }()

	self, err := os.Executable()
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer writer.Close()
	command := exec.Command(self, append([]string{insideVerb}, args...)...)
	command.Stdin, command.Stdout, command.Stderr = reader, os.Stdout, os.Stderr
	if err := reserved.Confine(command); err != nil {
		return err
	}
	running, err := child.Start(command)
	reader.Close()
	if err != nil {
		return fmt.Errorf("cannot open namespaces: %w", err)
	}
	defer running.Kill()
	go func() {
		if _, err := io.Copy(writer, os.Stdin); err == nil {
			end(fmt.Errorf("%w: stdin ended", errOver))
		}
	}()
	select {
	case <-ctx.Done():
		return nil // a requested end
	case <-running.Done():
		if running.ExitCode() == 128+int(syscall.SIGKILL) {
			return errors.New("the cluster was killed by SIGKILL")
		}
		return errReported
	}
}

// Inside is `up` in the namespaces of a node. Only this program's own `up` calls
// it.
func Inside(args []string) int {
	wanted, err := options.Parse(args, os.Stderr)
	if err == nil {
		err = runInside(wanted)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
	}
	return 1
}

func runInside(wanted options.Options) error {
	child.ReapOrphans()
	path, err := filepath.Abs(wanted.Dir)
	if err != nil {
		return err
	}
	inside, err := node.Enter(path)
	if err != nil {
		return err
	}
	in := &folder{path: path} // claimed by the parent process
	for name, value := range map[string]string{
		"PATH":   in.at("bin") + ":" + node.SearchPath(),
		"TMPDIR": in.at("tmp"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if err := os.Mkdir(in.at("tmp"), 0o700); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(context.Background())
	endOnSignal(end)
	lines := make(chan string, 1024)
	go readCommands(os.Stdin, lines, end)
	return runCluster(ctx, in, wanted, inside, lines, end)
}

// Sweep removes what a killed cluster with a node left behind, as the next
// cluster would. The kernel has already ended its processes.
func Sweep(args []string) int {
	if len(args) > 1 {
		fmt.Fprintln(os.Stderr, "usage: sweep [DIR]")
		return 2
	}
	err := sweep(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sweep:", err)
		return 1
	}
	return 0
}

func sweep(folders []string) error {
	reserved, err := node.Reserve("none, it sweeps")
	if err != nil {
		return err
	}
	for _, each := range folders {
		if _, err := os.Stat(each); errors.Is(err, os.ErrNotExist) {
			continue
		}
		in, err := claim(each)
		if err == nil {
			err = in.release(false)
		}
		if err != nil {
			return errors.Join(err, reserved.Release())
		}
	}
	return reserved.Release()
}

// Package up runs a control plane, and optionally a node, until its caller ends
// it.
//
// It leaves nothing of the cluster when stdin ends, on SIGINT, SIGTERM or SIGHUP,
// and when a component dies: it kills and reaps the processes, and removes the
// folder. On Linux the processes end with this process even if it is killed; the
// next cluster in the same folder then empties it.
//
// stdout has one line of JSON once the cluster is ready, and one for each command
// on stdin, and nothing else. Without a node, the cluster listens on loopback
// only and needs no root; package node says what holds with a node.
package up

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/options"
)

// errOver is a requested end.
var errOver = errors.New("the cluster is over")

// Main runs `up` with these arguments and returns the exit code: 0 for a requested
// end, 1 for a failure, 2 for a wrong command line.
func Main(args []string) int {
	wanted, err := options.Parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		return 2
	}
	if err := run(wanted, args); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "up:", err)
		}
		return 1
	}
	return 0
}

func run(wanted options.Options, args []string) (err error) {
	ctx, end := context.WithCancelCause(context.Background())
	endOnSignal(end)
	if wanted.Node {
		return runConfined(ctx, wanted, args, end)
	}
	lines := make(chan string, 1024)
	go readCommands(os.Stdin, lines, end)
	in, err := claim(wanted.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.release(wanted.Keep)) }()
	return runCluster(ctx, in, wanted, nil, lines, end)
}

// runCluster runs a cluster in a claimed folder until the context ends.
func runCluster(ctx context.Context, in *folder, wanted options.Options, inside *node.Inside,
	lines <-chan string, end context.CancelCauseFunc) error {
	made, err := newCluster(in, wanted, inside, end)
	if err != nil {
		return err
	}
	defer made.tearDown()
	if err := made.boot(ctx); err != nil {
		return fmt.Errorf("the cluster did not become ready: %w", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(made.report); err != nil {
		return err
	}
	if err := made.serve(ctx, lines, os.Stdout); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

func endOnSignal(end context.CancelCauseFunc) {
	// SIGPIPE for a closed stdout would end this process before it removes the
	// folder. Nor may it request an end: it would then come for sockets as well, and
	// a peer that closes its connection must not end the cluster.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() { end(fmt.Errorf("%w: %s", errOver, <-signals)) }()
}

// readCommands passes on the lines of stdin. The end of stdin ends the cluster,
// even while commands wait for their turn.
func readCommands(input io.Reader, lines chan<- string, end context.CancelCauseFunc) {
	for scanner := bufio.NewScanner(input); scanner.Scan(); {
		lines <- scanner.Text()
	}
	end(fmt.Errorf("%w: stdin ended", errOver))
}

package up

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

// answer is the line of JSON that answers a command on stdin, in order.
type answer struct {
	Command string         `json:"command"`
	OK      bool           `json:"ok"`
	Error   string         `json:"error,omitempty"`
	Pids    map[string]int `json:"pids"`
}

// serve executes one command after the other until the context ends.
func (c *cluster) serve(ctx context.Context, lines <-chan string, output io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case line := <-lines:
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			reply := answer{Command: strings.Join(words, " "), OK: true}
			if err := c.execute(ctx, words[0], words[1:]); err != nil {
				reply.OK, reply.Error = false, err.Error()
			}
			reply.Pids = c.components.pids()
			if err := json.NewEncoder(output).Encode(reply); err != nil {
				return fmt.Errorf("cannot answer a command: %w", err)
			}
		}
	}
}

func (c *cluster) execute(ctx context.Context, verb string, arguments []string) error {
	var act func(name string) error
	switch verb {
	case "route":
		return c.route(arguments)
	case "image", "registry", "host-port":
		return c.executeOnNode(ctx, verb, arguments)
	case "start":
		return c.startAgain(ctx, arguments)
	case "stop":
		act = c.components.stop
	case "freeze":
		act = func(name string) error { return c.components.signal(name, syscall.SIGSTOP) }
	case "thaw":
		act = func(name string) error { return c.components.signal(name, syscall.SIGCONT) }
	default:
		return fmt.Errorf("no such command: %q; use start, stop, freeze, thaw, route, image, registry or host-port", verb)
	}
	if len(arguments) != 1 {
		return fmt.Errorf("want: %s NAME", verb)
	}
	return act(arguments[0])
}

// startAgain starts a stopped component. Flags replace those of the same name, from
// now on.
func (c *cluster) startAgain(ctx context.Context, arguments []string) error {
	isFlag := func(argument string) bool { return strings.HasPrefix(argument, "--") }
	if len(arguments) == 0 || isFlag(arguments[0]) || !all(arguments[1:], isFlag) {
		return errors.New("want: start NAME [--flag=value…]")
	}
	if err := c.components.change(arguments[0], arguments[1:]); err != nil {
		return err
	}
	return c.start(ctx, arguments[0])
}

func all(words []string, are func(string) bool) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !are(word) })
}

func (c *cluster) route(arguments []string) error {
	if c.routes == nil {
		return errors.New("the API server calls real Services: start the cluster with `up --service` to use routes")
	}
	if len(arguments) != 1 && len(arguments) != 2 {
		return errors.New("want: route NAMESPACE/NAME [HOST:PORT,…]")
	}
	addresses := ""
	if len(arguments) == 2 {
		addresses = arguments[1]
	}
	made, err := route.New(arguments[0], addresses)
	if err == nil {
		c.routes.Set(made)
	}
	return err
}

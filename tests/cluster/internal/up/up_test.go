package up

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"ecr-pull-secrets.dev/tests/cluster/internal/child"
)

func TestClosedPeerDoesNotEndTheCluster(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	endOnSignal(end)

	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	syscall.Close(pair[1])
	if _, err := syscall.Write(pair[0], []byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("writing to a closed peer: %v", err)
	}

	// The kernel delivers the pending signal with the lower number first:
	// SIGPIPE, if it is delivered at all.
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !strings.Contains(cause.Error(), syscall.SIGTERM.String()) {
		t.Fatalf("the cluster ended with %q, want it to end with SIGTERM", cause)
	}
}

func TestStartTakesFlagsForAStoppedComponent(t *testing.T) {
	stopped := &component{name: "etcd", args: []string{"--a=1", "--b=1"}}
	made := &cluster{components: &components{order: []*component{stopped}}}
	for _, wrong := range [][]string{{}, {"--a=2"}, {"etcd", "a=2"}, {"none", "--a=2"}} {
		if err := made.startAgain(t.Context(), wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
	if err := made.components.change("etcd", []string{"--a=2", "--a=3"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(stopped.args, " "); got != "--b=1 --a=2 --a=3" {
		t.Errorf("the flags are %q", got)
	}
	stopped.running = &child.Child{}
	if err := made.components.change("etcd", nil); err == nil {
		t.Error("a running component was changed")
	}
}

package up

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
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

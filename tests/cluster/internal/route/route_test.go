package route

import (
	"reflect"
	"testing"
)

func TestParseReadsServiceAndAddresses(t *testing.T) {
	for text, want := range map[string]Route{
		"a/b=127.0.0.1:1":             {Service{"a", "b"}, []string{"127.0.0.1:1"}},
		"a/b=127.0.0.1:1,[::1]:65535": {Service{"a", "b"}, []string{"127.0.0.1:1", "[::1]:65535"}},
		"a/b=":                        {Service{"a", "b"}, nil},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestParseRefusesRoutesOutsideLoopback(t *testing.T) {
	for _, text := range []string{
		"", "a/b", "b=127.0.0.1:1", "/b=127.0.0.1:1", "a/=127.0.0.1:1", "a/b/c=127.0.0.1:1",
		"a/b=127.0.0.1", "a/b=127.0.0.1:0", "a/b=127.0.0.1:65536", "a/b=127.0.0.1:https",
		"a/b=127.0.0.1:1,", "a/b=192.0.2.1:1", "a/b=localhost:1", "a/b=:1",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestConnectionsUseEachAddressInTurn(t *testing.T) {
	var table Table
	service := Service{"a", "b"}
	table.Set(Route{service, []string{"one", "two"}})
	for _, want := range []string{"one", "two", "one"} {
		if got, ok := table.Next(service); !ok || got != want {
			t.Fatalf("Next = %q, %v, want %q", got, ok, want)
		}
	}
}

func TestServiceWithoutAddressesHasNoNext(t *testing.T) {
	var table Table
	service := Service{"a", "b"}
	if got, ok := table.Next(service); ok {
		t.Fatalf("Next of an unknown service = %q", got)
	}
	table.Set(Route{service, []string{"one"}})
	if _, ok := table.Next(service); !ok {
		t.Fatal("Next of a routed service returns no address")
	}
	table.Set(Route{service, nil})
	if got, ok := table.Next(service); ok {
		t.Fatalf("Next of an emptied service = %q", got)
	}
	if got, ok := table.Next(Service{"a", "c"}); ok {
		t.Fatalf("Next of its neighbour = %q", got)
	}
}

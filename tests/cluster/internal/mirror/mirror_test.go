package mirror

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestParseAcceptsOnlyLoopbackMirrors(t *testing.T) {
	got, err := Parse("1.dkr.ecr.eu-central-1.amazonaws.com=http://127.0.0.1:80/")
	want := Mirror{Host: "1.dkr.ecr.eu-central-1.amazonaws.com", At: netip.MustParseAddrPort("127.0.0.1:80")}
	if err != nil || got != want {
		t.Fatalf("Parse = %+v, %v, want %+v", got, err, want)
	}
	for _, text := range []string{
		"", "a", "a=", "=http://127.0.0.1:80", "a:443=http://127.0.0.1:80", "../a=http://127.0.0.1:80",
		"a=127.0.0.1:80", "a=https://127.0.0.1:80", "a=http://10.0.0.1:80", "a=http://127.0.0.1", "a=http://127.0.0.1:0",
		"a=http://127.0.0.1:80/v2", "a=http://127.0.0.1:80?b=c", "a=http://localhost:80",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", text, got)
		}
	}
}

func TestLastMirrorAppliesWithAndWithoutPort(t *testing.T) {
	folder := t.TempDir()
	for _, at := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		if err := (Mirror{Host: "a.b", At: netip.MustParseAddrPort(at)}).Write(folder); err != nil {
			t.Fatal(err)
		}
	}
	const want = `server = "http://127.0.0.1:2"

[host."http://127.0.0.1:2"]
capabilities = ["pull", "resolve"]
`
	for _, name := range []string{"a.b", "a.b_443_"} {
		got, err := os.ReadFile(filepath.Join(folder, name, "hosts.toml"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

package up

import (
	"os"
	"path/filepath"
	"testing"
)

func TestForeignFolderIsRefused(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(path); err == nil {
		t.Fatal("claimed a folder with a foreign file")
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
}

func TestKilledClustersFolderIsEmptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	dead, err := claim(path)
	if err != nil {
		t.Fatal(err)
	}
	left, err := dead.write("left", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(path); err == nil {
		t.Fatal("claimed the folder of a running cluster")
	}
	dead.lock.Close() // as the kernel does for a killed process

	next, err := claim(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Fatalf("%s still exists (%v)", left, err)
	}
	if err := next.release(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("%s still exists (%v)", path, err)
	}
}

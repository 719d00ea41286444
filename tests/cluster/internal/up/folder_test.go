package up

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAForeignFolderIsLeftAlone(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(path); err == nil {
		t.Fatal("claimed a folder that holds somebody's file")
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
}

func TestWhatADeadClusterLeftIsCleared(t *testing.T) {
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
		t.Fatal("claimed the folder of a cluster that runs")
	}
	dead.lock.Close() // as the kernel does for a process that is killed

	next, err := claim(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Fatalf("%s is still there (%v)", left, err)
	}
	if err := next.release(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("%s is still there (%v)", path, err)
	}
}

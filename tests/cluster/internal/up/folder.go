package up

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// marker is a file in the folder of every cluster. A folder without it is never
// emptied. Its lock tells a running cluster from a killed one.
const marker = ".ecr-pull-secrets-test-cluster"

// folder is the folder of everything that one cluster writes.
type folder struct {
	path string
	lock *os.File
}

// claim makes the folder, or takes over and empties that of a killed cluster.
func claim(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(path, marker)); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is neither empty nor the folder of a test cluster: choose another folder", path)
	}
	lock, err := os.OpenFile(filepath.Join(path, marker), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s belongs to a running cluster: %w", path, err)
	}
	for _, entry := range entries {
		if entry.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return nil, err
		}
	}
	for _, sub := range []string{"bin", "logs", "pki"} {
		if err := os.Mkdir(filepath.Join(path, sub), 0o700); err != nil {
			return nil, err
		}
	}
	return &folder{path: path, lock: lock}, nil
}

// at returns an absolute path in the folder.
func (f *folder) at(elements ...string) string {
	return filepath.Join(append([]string{f.path}, elements...)...)
}

// write writes a file in the folder that only its owner may read.
func (f *folder) write(name string, content []byte) (path string, err error) {
	path = f.at(name)
	return path, os.WriteFile(path, content, 0o600)
}

// release unlocks the folder, and removes it unless keep is set.
func (f *folder) release(keep bool) error {
	defer f.lock.Close()
	if keep {
		return nil
	}
	return os.RemoveAll(f.path)
}

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroupsLimit is how long the kernel may take to notice the end of a group's
// last process.
const cgroupsLimit = 10 * time.Second

// hierarchies finds the mount points of control groups, of both versions, in the
// content of /proc/mounts.
func hierarchies(mounts string) []string {
	var found []string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			found = append(found, fields[1])
		}
	}
	return found
}

// cgroupFolders are the cluster's folders, one in each hierarchy.
func cgroupFolders() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, each := range hierarchies(string(mounts)) {
		folders = append(folders, filepath.Join(each, cgroup))
	}
	return folders, nil
}

// makeCgroups makes the parents of all groups of pods. The kubelet requires
// them, with the controllers that it uses.
func makeCgroups() error {
	folders, err := cgroupFolders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make a control group: %w", err)
		}
		if err := enableControllers(filepath.Dir(folder)); err != nil {
			return err
		}
		// Version 1: no process can enter a cpuset without CPUs and memory.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			inherited, err := os.ReadFile(filepath.Join(filepath.Dir(folder), name))
			if err != nil {
				continue // another hierarchy, or version 2, which inherits by itself
			}
			if err := os.WriteFile(filepath.Join(folder, name), inherited, 0); err != nil {
				return fmt.Errorf("cannot set up a control group: %w", err)
			}
		}
	}
	return nil
}

// enableControllers enables the controllers that a kubelet requires in a
// hierarchy of version 2. Usually the init system has enabled them at boot. If
// not, they stay enabled, as a container engine would leave them.
func enableControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // version 1
	}
	if err != nil {
		return err
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for _, each := range missingControllers(string(available), string(enabled)) {
		if err := os.WriteFile(control, []byte("+"+each), 0); err != nil {
			return fmt.Errorf("cannot enable the controller %s: %w", each, err)
		}
	}
	return nil
}

// missingControllers are the controllers that a kubelet requires and the kernel
// has, but that are not enabled.
func missingControllers(available, enabled string) []string {
	var missing []string
	for _, each := range []string{"cpu", "cpuset", "memory", "hugetlb", "pids"} {
		if slices.Contains(strings.Fields(available), each) && !slices.Contains(strings.Fields(enabled), each) {
			missing = append(missing, each)
		}
	}
	return missing
}

// removeCgroups removes the groups of a cluster whose processes are dead or
// about to end.
func removeCgroups() error {
	folders, err := cgroupFolders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		for deadline := time.Now().Add(cgroupsLimit); ; time.Sleep(10 * time.Millisecond) {
			err := removeGroup(folder)
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("cannot remove control groups: %w", err)
			}
		}
	}
	return nil
}

// removeGroup removes a group and the groups in it, the innermost first. The
// kernel removes the files in a folder together with it.
func removeGroup(root string) error {
	var groups []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, each := range slices.Backward(groups) {
		if err := syscall.Rmdir(each); err != nil && !errors.Is(err, syscall.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: each, Err: err}
		}
	}
	return nil
}

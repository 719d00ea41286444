package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// overlaid are folders of the machine with paths that the node's programs use.
// The cluster writes to an overlay layer in its own folder.
var overlaid = []string{"/var/lib", "/var/log"}

// settings are kernel settings outside of namespaces, with the values that a
// kubelet requires. The kubelet reads these values and changes nothing.
var settings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mountAll makes the cluster's view of the file system. The machine does not see
// these mounts.
func mountAll(folder string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot leave the machine's mounts: %w", err)
	}
	// Within the cluster mounts propagate, because a pod may require that.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot share mounts with pods: %w", err)
	}
	for _, each := range overlaid {
		if err := overlay(each, filepath.Join(folder, "node", strings.ReplaceAll(each, "/", "-"))); err != nil {
			return err
		}
	}
	for target, source := range map[string]string{
		"/run":                "run",
		kubeletDir:            "node/kubelet",
		"/var/lib/containerd": "node/containerd",
		podLogs:               "logs/pods",
	} {
		if err := bindFolder(filepath.Join(folder, source), target); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	return pinSettings(filepath.Join(folder, "node", "settings"))
}

func overlay(lower, layers string) error {
	upper, work := filepath.Join(layers, "upper"), filepath.Join(layers, "work")
	for _, each := range []string{upper, work} {
		if err := os.MkdirAll(each, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, escape(upper), escape(work))
	if err := unix.Mount("overlay", lower, "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot mount an overlay on %s: %w", lower, err)
	}
	return nil
}

// escape escapes the two special characters in the options of an overlay.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(path)
}

func bindFolder(source, target string) error {
	for _, each := range []string{source, target} {
		if err := os.MkdirAll(each, 0o755); err != nil {
			return err
		}
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", source, target, err)
	}
	return nil
}

func pinSettings(folder string) error {
	for name, value := range settings {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(file, filepath.Join("/proc/sys", name)); err != nil {
			return err
		}
	}
	return nil
}

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are the paths of a node's programs that are not part of this program.
type Programs struct {
	// Containerd, its shim and its command line ctr, all in one folder.
	Containerd, Shim, Ctr string
	// Plugins is the folder of the CNI plugins.
	Plugins string
}

// aptPackages are Debian's and Ubuntu's packages of the other programs, each with
// one of its programs.
var aptPackages = []struct{ name, program string }{
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"containernetworking-plugins", ""},
}

// pluginFolders are the folders in which distributions put CNI plugins.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin"}

// Find finds the programs: containerd at this path, or on PATH if the path is
// empty. The error says how to install everything that is missing.
func Find(containerd string) (Programs, error) {
	var found Programs
	var missing []string
	for _, each := range pluginFolders {
		if executable(filepath.Join(each, "bridge")) && executable(filepath.Join(each, "host-local")) {
			found.Plugins = each
			break
		}
	}
	for _, each := range aptPackages {
		if each.program == "" && found.Plugins == "" || each.program != "" && !onPath(each.program) {
			missing = append(missing, each.name)
		}
	}
	var problems []error
	if len(missing) > 0 {
		problems = append(problems, fmt.Errorf("a node needs packages: apt-get install --no-install-recommends %s", strings.Join(missing, " ")))
	}

	if containerd == "" {
		containerd, _ = exec.LookPath("containerd")
	}
	folder, err := filepath.Abs(filepath.Dir(containerd))
	if err != nil {
		return Programs{}, err
	}
	found.Containerd = containerd
	found.Shim, found.Ctr = filepath.Join(folder, "containerd-shim-runc-v2"), filepath.Join(folder, "ctr")
	if containerd == "" || !executable(containerd) || !executable(found.Shim) || !executable(found.Ctr) {
		problems = append(problems, errors.New(`a node needs containerd, with its shim and ctr beside it: --containerd "$(tools.sh containerd)"`))
	} else {
		found.Containerd = filepath.Join(folder, filepath.Base(containerd))
	}
	return found, errors.Join(problems...)
}

// SearchPath is the PATH of the node's programs. root's PATH does not always have
// the sbin folders.
func SearchPath() string {
	return strings.TrimPrefix(os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin", ":")
}

func onPath(name string) bool {
	for _, folder := range filepath.SplitList(SearchPath()) {
		if executable(filepath.Join(folder, name)) {
			return true
		}
	}
	return false
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

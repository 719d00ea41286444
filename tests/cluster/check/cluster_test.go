//go:build node && linux

// Package check tests a real cluster with a node:
//
//	go test -tags node -v ./check
//
// The tests need root; tools.sh builds the programs that they start. They leave
// the machine as it was, and about half of them check exactly that.
package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/image"
)

const (
	limit    = 90 * time.Second
	appImage = "cluster.test/app:1"
)

type cluster struct {
	t       *testing.T
	folder  string
	process *exec.Cmd
	input   io.WriteCloser
	answers *bufio.Reader
	report  struct {
		Kubeconfig, Kubectl, Logs string
		Node                      struct {
			HostIP     string `json:"host_ip"`
			NodeIP     string `json:"node_ip"`
			PauseImage string `json:"pause_image"`
		}
	}
}

// tool is the path of a tool, which tools.sh builds if it is missing.
func tool(t *testing.T, name string) string {
	t.Helper()
	command := exec.Command("../tools.sh", name)
	command.Stderr = os.Stderr
	path, err := command.Output()
	if err != nil {
		t.Fatalf("tools.sh %s: %v", name, err)
	}
	return strings.TrimSpace(string(path))
}

// up starts a cluster with a node, which ends at the latest with the test.
func up(t *testing.T, folder string, args ...string) *cluster {
	t.Helper()
	started := time.Now()
	c := &cluster{t: t, folder: folder}
	c.process = exec.Command(tool(t, "cluster"), append([]string{
		"up", "--node", "--dir", folder, "--containerd", tool(t, "containerd"),
	}, args...)...)
	c.process.Stderr = os.Stderr
	var err error
	if c.input, err = c.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	c.answers = bufio.NewReader(output)
	if err := json.Unmarshal(c.line(), &c.report); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(started).Round(time.Millisecond))
	return c
}

// end closes stdin, which ends the cluster, and waits for its end.
func (c *cluster) end() {
	c.input.Close()
	_ = c.process.Wait()
}

func (c *cluster) line() []byte {
	c.t.Helper()
	line, err := c.answers.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("cannot read a line of the cluster: %v", err)
	}
	return line
}

// command sends a command on stdin and fails the test unless it succeeds.
func (c *cluster) command(text string) {
	c.t.Helper()
	fmt.Fprintln(c.input, text)
	var answer struct {
		OK    bool
		Error string
	}
	if err := json.Unmarshal(c.line(), &answer); err != nil || !answer.OK {
		c.t.Fatalf("%s: %s (%v)", text, answer.Error, err)
	}
}

func (c *cluster) kubectl(input string, args ...string) (string, error) {
	command := exec.Command(c.report.Kubectl, append([]string{"--kubeconfig", c.report.Kubeconfig}, args...)...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func (c *cluster) apply(objects ...object) {
	c.t.Helper()
	for _, each := range objects {
		content, err := json.Marshal(each)
		if err != nil {
			c.t.Fatal(err)
		}
		if output, err := c.kubectl(string(content), "apply", "-f", "-"); err != nil {
			c.t.Fatalf("%s: %s", content, output)
		}
	}
}

// await waits until a field of a pod has the wanted value.
func (c *cluster) await(pod, path, want string) {
	c.t.Helper()
	var got string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got, _ = c.kubectl("", "get", "pod", pod, "-o", "jsonpath="+path); got == want {
			return
		}
	}
	events, _ := c.kubectl("", "describe", "pod", pod)
	c.t.Fatalf("%s of pod %s is %q, want %q:\n%s", path, pod, got, want, events)
}

func (c *cluster) awaitReady(pod string) {
	c.t.Helper()
	c.await(pod, `{.status.conditions[?(@.type=="Ready")].status}`, "True")
}

// clusterIP is the cluster IP of a Service.
func (c *cluster) clusterIP(service string) string {
	c.t.Helper()
	ip, err := c.kubectl("", "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		c.t.Fatal(ip)
	}
	return ip
}

// get fetches a URL from this machine, with retries until it works.
func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	var problem error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		response, err := client.Get(url)
		if err != nil {
			problem = err
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			return string(body)
		}
		problem = fmt.Errorf("%s: %s (%v)", response.Status, body, err)
	}
	t.Fatalf("%s: %v", url, problem)
	return ""
}

type object = map[string]any

// pod makes a pod and a Service of the same name that leads to it.
func pod(name string, spec object) []object {
	metadata := object{"name": name, "labels": object{"app": name}}
	return []object{
		{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
		{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": object{
			"selector": object{"app": name}, "ports": []object{{"port": 80, "targetPort": 8080}},
		}},
	}
}

// container makes a pod spec with one container.
func container(image string, more object) object {
	made := object{"name": "main", "image": image}
	for name, value := range more {
		made[name] = value
	}
	return object{"containers": []object{made}}
}

// buildApp builds the application and writes its image.
func buildApp(t *testing.T, name string) (path string) {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "app")
	command := exec.Command("go", "build", "-o", program, "./app")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, bytes.TrimSpace(output))
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// The content of each image is unique: the kubelet requires a pull secret for
	// every image with the content of an image that was pulled with one.
	content = append(content, name...)
	archive, err := image.Program(name, runtime.GOARCH, "app", content)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(folder, "app.tar")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

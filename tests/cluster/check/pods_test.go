//go:build node && linux

package check

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

func TestPodsRunOnTheNode(t *testing.T) {
	app := buildApp(t, appImage)
	private := serveImage(t, buildApp(t, "private"))
	c := up(t, filepath.Join(t.TempDir(), "c"), "--image", app, "--registry", ecrHost+"="+private.URL)

	t.Run("imported image runs without privileges", func(t *testing.T) {
		c.t = t
		spec := container(appImage, object{"securityContext": object{
			"readOnlyRootFilesystem": true, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
			"capabilities": object{"drop": []string{"ALL"}}, "seccompProfile": object{"type": "RuntimeDefault"},
		}})
		c.apply(pod("confined", spec)...)
		c.awaitReady("confined")
		got := factsOf(t, c, "confined")
		for name, want := range map[string]string{
			"Uid": "65532 65532 65532 65532", "CapEff": "0000000000000000", "CapBnd": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2", "write": "open /file: read-only file system",
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		c.apply(pod("ordinary", container(appImage, object{"securityContext": object{"runAsUser": 0}}))...)
		c.awaitReady("ordinary")
		if got := factsOf(t, c, "ordinary"); got["write"] != "done" || strings.Trim(got["CapEff"], "0") == "" {
			t.Errorf("an ordinary pod has no privileges either: %v", got)
		}
	})

	t.Run("Service is reached from machine, pods and its own pod", func(t *testing.T) {
		c.t = t
		for _, from := range []string{"confined", "ordinary"} {
			there := "http://" + c.clusterIP("ordinary") + "/cat?file=/etc/hostname"
			here := "http://" + c.clusterIP(from) + "/get?url=" + url.QueryEscape(there)
			if got := strings.TrimSpace(get(t, here)); got != "ordinary" {
				t.Errorf("from %s: %q", from, got)
			}
		}
	})

	t.Run("Service is reached from the node, as webhooks are", func(t *testing.T) {
		c.t = t
		spec := container(appImage, nil)
		spec["hostNetwork"] = true
		c.apply(pod("on-node", spec)...)
		c.awaitReady("on-node")
		there := url.QueryEscape("http://" + c.clusterIP("ordinary") + "/cat?file=/etc/hostname")
		if got := strings.TrimSpace(get(t, "http://"+c.report.Node.NodeIP+":8080/get?url="+there)); got != "ordinary" {
			t.Errorf("the answer is %q", got)
		}
	})

	t.Run("pods reach the API server through its Service", func(t *testing.T) {
		c.t = t
		// The server requires TLS, and its answer to plain HTTP says so.
		there := url.QueryEscape("http://" + c.clusterIP("kubernetes") + ":443/")
		if got := get(t, "http://"+c.clusterIP("ordinary")+"/get?url="+there); !strings.Contains(got, "HTTPS server") {
			t.Errorf("the answer is %q", got)
		}
	})

	t.Run("pods reach the machine's shared port", func(t *testing.T) {
		c.t = t
		other := serveImage(t, app)
		c.command("host-port " + other.port(t))
		there := url.QueryEscape("http://" + c.report.Node.NodeIP + ":" + other.port(t) + "/v2/")
		if got := get(t, "http://"+c.clusterIP("ordinary")+"/get?url="+there); !strings.Contains(got, "no basic auth") {
			t.Errorf("the answer is %q", got)
		}
	})

	t.Run("registry image needs a pull secret", func(t *testing.T) {
		c.t = t
		c.apply(pod("without", container(ecrHost+"/app:1", nil))...)
		c.await("without", "{.status.containerStatuses[0].state.waiting.reason}", "ImagePullBackOff")
		if private.served.Load() > 0 {
			t.Error("the registry served an image without credentials")
		}
		c.apply(pullSecret("pull", ecrHost))
		c.apply(pod("with", withPullSecret(container(ecrHost+"/app:1", nil)))...)
		c.awaitReady("with")
	})

	t.Run("registry is found by its name with port", func(t *testing.T) {
		c.t = t
		c.apply(pullSecret("pull", ecrHost, ecrHost+":443"))
		c.apply(pod("port", withPullSecret(container(ecrHost+":443/other:1", nil)))...)
		c.awaitReady("port")
	})

	t.Run("registry image can be a volume", func(t *testing.T) {
		c.t = t
		spec := container(appImage, object{"volumeMounts": []object{{"name": "data", "mountPath": "/data"}}})
		spec["volumes"] = []object{{"name": "data", "image": object{"reference": ecrHost + "/data:1"}}}
		c.apply(pod("volume", withPullSecret(spec))...)
		c.awaitReady("volume")
		if got := get(t, "http://"+c.clusterIP("volume")+"/cat?file=/data/app"); !strings.HasPrefix(got, "\x7fELF") {
			t.Errorf("the volume holds %.20q", got)
		}
	})

	t.Run("image and registry can be added later", func(t *testing.T) {
		c.t = t
		c.command("image " + buildApp(t, "cluster.test/late:1"))
		c.apply(pod("late", container("cluster.test/late:1", nil))...)
		c.awaitReady("late")
		other := serveImage(t, buildApp(t, "other"))
		c.command("registry late.test " + other.URL)
		c.apply(pullSecret("late", "late.test"))
		spec := container("late.test/app:1", nil)
		spec["imagePullSecrets"] = []object{{"name": "late"}}
		c.apply(pod("later", spec)...)
		c.awaitReady("later")
		if other.served.Load() == 0 {
			t.Error("the registry received no request")
		}
	})

	t.Run("kubectl logs and exec reach the kubelet", func(t *testing.T) {
		c.t = t
		if output, err := c.kubectl("", "logs", "ordinary"); err != nil {
			t.Error(output)
		}
		if output, _ := c.kubectl("", "exec", "ordinary", "--", "/none"); !strings.Contains(output, "no such file") {
			t.Error(output)
		}
	})
}

func withPullSecret(spec object) object {
	spec["imagePullSecrets"] = []object{{"name": "pull"}}
	return spec
}

func factsOf(t *testing.T, c *cluster, service string) map[string]string {
	t.Helper()
	var read map[string]string
	if err := json.Unmarshal([]byte(get(t, "http://"+c.clusterIP(service)+"/facts")), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

//go:build node && linux

package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/pki"
)

func TestWebhookPodIsCalledThroughItsService(t *testing.T) {
	authority, identity := issue(t)
	app := buildApp(t, appImage)
	c := up(t, filepath.Join(t.TempDir(), "c"), "--image", app)
	c.apply(object{
		"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "tls"},
		"stringData": object{"tls.crt": string(identity.Certificate), "tls.key": string(identity.Key)},
	})
	spec := container(appImage, object{
		"args": []string{":8443", "/tls"}, "volumeMounts": []object{{"name": "tls", "mountPath": "/tls"}},
	})
	spec["volumes"] = []object{{"name": "tls", "secret": object{"secretName": "tls"}}}
	c.apply(pod("webhook", spec)...)
	c.apply(service("webhook", 8443))
	c.awaitReady("webhook")
	c.apply(registration(authority))
	c.awaitDenial("denied on webhook")
}

func TestOnlyServiceWithRouteLeadsToTheMachine(t *testing.T) {
	authority, identity := issue(t)
	app := buildApp(t, appImage)
	folder := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": identity.Certificate, "tls.key": identity.Key} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const address = "127.0.0.1:19443"
	here := exec.Command(filepath.Join(filepath.Dir(app), "app"), address, folder)
	if err := here.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Process.Kill(); _ = here.Wait() })

	c := up(t, filepath.Join(t.TempDir(), "c"), "--image", app, "--service", "default/webhook="+address)
	c.apply(pod("ordinary", container(appImage, nil))...)
	c.awaitReady("ordinary")
	if output, _ := c.kubectl("", "exec", "ordinary", "--", "/none"); !strings.Contains(output, "no such file") {
		t.Error(output)
	}
	c.apply(service("webhook", 8443), registration(authority))
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c.awaitDenial("denied on " + host)
}

// awaitDenial creates ConfigMaps until the webhook denies one.
func (c *cluster) awaitDenial(with string) {
	c.t.Helper()
	var output string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		output, _ = c.kubectl("", "create", "configmap", fmt.Sprint("x", time.Now().UnixNano()))
		if strings.Contains(output, with) {
			return
		}
	}
	c.t.Fatalf("the answer is %q, want a denial with %q", output, with)
}

func issue(t *testing.T) (authority []byte, identity pki.Pair) {
	t.Helper()
	made, err := pki.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	identity, err = made.Server("webhook.default.svc")
	if err != nil {
		t.Fatal(err)
	}
	return made.PEM, identity
}

func service(name string, port int) object {
	return object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": name},
		"spec": object{"selector": object{"app": name}, "ports": []object{{"port": 443, "targetPort": port}}},
	}
}

func registration(authority []byte) object {
	return object{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
		"metadata": object{"name": "deny"},
		"webhooks": []object{{
			"name": "deny.cluster.test", "sideEffects": "None", "admissionReviewVersions": []string{"v1"},
			"failurePolicy": "Fail",
			"rules": []object{{
				"operations": []string{"CREATE"}, "apiGroups": []string{""}, "apiVersions": []string{"v1"},
				"resources": []string{"configmaps"},
			}},
			"clientConfig": object{
				"caBundle": authority,
				"service":  object{"namespace": "default", "name": "webhook", "path": "/deny"},
			},
		}},
	}
}

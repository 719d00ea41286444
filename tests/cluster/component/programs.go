// Package component has the programs of a Kubernetes control plane that this
// binary can run as: etcd, kube-apiserver, kube-controller-manager and kubectl,
// each with its own flags, exactly as its release ships it.
//
// No other package imports Kubernetes, so the others build and test within a
// second. To add a program, add an entry to the table. The package starts no
// process and does not know the cluster of `up`.
package component

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics, as in the releases
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// programs maps the name of a program to its main function, which reads os.Args
// as if the program had been started under that name.
var programs = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kubectl":                 runKubectl,
}

// Lookup returns the program with this name.
func Lookup(name string) (run func() int, ok bool) {
	run, ok = programs[name]
	return run, ok
}

// runEtcd returns only after an orderly end; otherwise etcd exits by itself.
func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func runKubectl() int {
	command := kubectl.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		// Prints the error as kubectl does, and exits with its code.
		kubectlutil.CheckErr(err)
	}
	return 0
}

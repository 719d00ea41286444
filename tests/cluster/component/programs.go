// Package component holds the programs of a Kubernetes control plane that this
// binary can be: etcd, kube-apiserver, kube-controller-manager and kubectl,
// each with its own flags, exactly as its release ships it.
//
// It is the only package that imports Kubernetes, so that everything else
// builds and tests in a second. Another program is one more entry in the table.
// Nothing here starts a process or knows of the cluster that `up` makes.
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

// programs maps the name of a program to its main function, which reads
// os.Args as if the program had been started by that name.
var programs = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kubectl":                 runKubectl,
}

// Lookup returns the program of that name.
func Lookup(name string) (run func() int, ok bool) {
	run, ok = programs[name]
	return run, ok
}

// runEtcd returns only after an orderly end; etcd exits by itself otherwise.
func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func runKubectl() int {
	command := kubectl.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		// Prints the error the way kubectl does, and exits with its code.
		kubectlutil.CheckErr(err)
	}
	return 0
}

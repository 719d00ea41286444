// Command keyring answers with the kubelet's own code which credentials of a
// pull Secret the kubelet tries for an image. It reads cases from stdin and
// prints one answer for each, a JSON object in a line. It calls what the
// kubelet's image manager calls, in that order.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"
)

// A pull Secret and the image of a container.
type question struct {
	Type   v1.SecretType
	Config string
	Image  string
}

// The names of the users in the order of the attempts. With Malformed, the
// kubelet does not pull at all.
type answer struct {
	Malformed bool     `json:"malformed"`
	Users     []string `json:"users"`
}

func main() {
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	answers := json.NewEncoder(output)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(ask(asked)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func ask(asked question) answer {
	repository, _, _, err := parsers.ParseImageName(asked.Image)
	if err != nil {
		log.Fatal(err)
	}
	key := v1.DockerConfigJsonKey
	if asked.Type == v1.SecretTypeDockercfg {
		key = v1.DockerConfigKey
	}
	secret := v1.Secret{Type: asked.Type, Data: map[string][]byte{key: []byte(asked.Config)}}
	keyring, err := secrets.MakeDockerKeyring([]v1.Secret{secret}, credentialprovider.UnionDockerKeyring{})
	if err != nil {
		return answer{Malformed: true, Users: []string{}}
	}
	found, _ := keyring.Lookup(repository)
	users := []string{}
	for _, one := range found {
		users = append(users, one.Username)
	}
	return answer{Users: users}
}

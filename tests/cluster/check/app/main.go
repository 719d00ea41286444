// Command app is the application for the checks of this folder. It answers HTTP
// on port 8080 with what its container sees. It changes nothing.
//
//	/facts       its process status and whether it can write, as JSON
//	/get?url=    the body at a URL
//	/cat?file=   the content of a file
//	/deny        an admission webhook that denies every request
//
// With the arguments ADDRESS FOLDER it serves TLS at ADDRESS, with tls.crt and
// tls.key from FOLDER.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	client := &http.Client{Timeout: 2 * time.Second}
	http.HandleFunc("/facts", func(to http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(to).Encode(facts()); err != nil {
			log.Print(err)
		}
	})
	http.HandleFunc("/get", func(to http.ResponseWriter, request *http.Request) {
		response, err := client.Get(request.FormValue("url"))
		if err != nil {
			http.Error(to, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(to, response.Body)
	})
	http.HandleFunc("/cat", func(to http.ResponseWriter, request *http.Request) {
		content, err := os.ReadFile(request.FormValue("file"))
		if err != nil {
			http.Error(to, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = to.Write(content)
	})
	http.HandleFunc("/deny", deny)
	if len(os.Args) == 3 {
		folder := os.Args[2]
		log.Fatal(http.ListenAndServeTLS(os.Args[1], folder+"/tls.crt", folder+"/tls.key", nil))
	}
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func deny(to http.ResponseWriter, request *http.Request) {
	var review struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Request    map[string]any `json:"request,omitempty"`
		Response   map[string]any `json:"response"`
	}
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(to, err.Error(), http.StatusBadRequest)
		return
	}
	host, _ := os.Hostname()
	review.Response = map[string]any{
		"uid": review.Request["uid"], "allowed": false, "status": map[string]string{"message": "denied on " + host},
	}
	review.Request = nil
	if err := json.NewEncoder(to).Encode(review); err != nil {
		log.Print(err)
	}
}

// facts are the lines of /proc/self/status, and whether it can write a file.
func facts() map[string]string {
	found := map[string]string{}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		found[name] = strings.Join(strings.Fields(value), " ")
	}
	found["write"] = "done"
	if err := os.WriteFile("/file", nil, 0o600); err != nil {
		found["write"] = err.Error()
	}
	return found
}

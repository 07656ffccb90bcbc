// crdcheck CRD.yaml... -- MANIFEST.yaml...: what an API server would say to each object: the official schemas,
// with Kubernetes' own validation (structure, unknown fields, CEL rules), by the same code that Istio tests with.
package main

import (
	"bytes"
	"fmt"
	"os"

	"istio.io/istio/pkg/config/crd"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func main() {
	var crds, manifests []string
	into := &crds
	for _, argument := range os.Args[1:] {
		if argument == "--" {
			into = &manifests
			continue
		}
		*into = append(*into, argument)
	}
	validator, err := crd.NewValidatorFromFiles(crds...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	failed := false
	for _, file := range manifests {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		for _, document := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
			object := map[string]any{}
			if err = yaml.UnmarshalStrict(document, &object); err == nil && len(object) > 0 {
				err = validator.ValidateCustomResource(&unstructured.Unstructured{Object: object})
			}
			if err != nil {
				failed = true
				fmt.Printf("%s: %v\n", file, err)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}

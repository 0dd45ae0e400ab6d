package standin

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

// Media types of the OCI image specification.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType string            `json:"mediaType"`
	Size      int               `json:"size"`
	Digest    string            `json:"digest"`
	Platform  map[string]string `json:"platform,omitempty"`
}

// ControlPlane are the images of Kubernetes 1.20.5's control plane, and of pods' sandboxes.
func ControlPlane() []string {
	return []string{
		"pause:3.2", "kube-apiserver:v1.20.5", "kube-controller-manager:v1.20.5", "kube-scheduler:v1.20.5",
		"kube-proxy:v1.20.5", "etcd:3.4.13-0", "coredns:1.7.0",
	}
}

// ControlPlaneImages publishes these in both registries that have had them.
func (u *Upstream) ControlPlaneImages(programs ...Programs) error {
	for _, registry := range []string{"k8s.gcr.io", "registry.k8s.io"} {
		for _, image := range ControlPlane() {
			if err := u.Image(registry+"/"+image, programs...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Image publishes a container image HOST/REPOSITORY:TAG for the architectures of the programs, with
// one layer that holds one program, in the layout of a registry's API.
func (u *Upstream) Image(name string, programs ...Programs) error {
	host, rest, _ := strings.Cut(name, "/")
	repo, tag, ok := strings.Cut(rest, ":")
	if !ok {
		return fmt.Errorf("publishing image %s: want HOST/REPOSITORY:TAG", name)
	}
	api := "https://" + host + "/v2/" + repo
	var manifests []descriptor
	for _, p := range programs {
		d, err := u.manifest(api, repo[strings.LastIndexByte(repo, '/')+1:], p)
		if err != nil {
			return err
		}
		manifests = append(manifests, d)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": manifests})
	if err != nil {
		return err
	}
	if err := u.Put(api+"/manifests/"+tag, index); err != nil {
		return err
	}
	return u.Put(api+"/manifests/sha256:"+string(cas.Of(index)), index)
}

func (u *Upstream) manifest(api, name string, p Programs) (descriptor, error) {
	layer, raw, err := layerOf(program(name, p.Named))
	if err != nil {
		return descriptor{}, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": p.Arch, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/" + name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + string(raw)}},
	})
	if err != nil {
		return descriptor{}, err
	}
	c, err := u.blob(api, configType, config)
	if err != nil {
		return descriptor{}, err
	}
	l, err := u.blob(api, layerType, layer)
	if err != nil {
		return descriptor{}, err
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": c, "layers": []descriptor{l}})
	if err != nil {
		return descriptor{}, err
	}
	d := describe(manifestType, text)
	d.Platform = map[string]string{"architecture": p.Arch, "os": "linux"}
	return d, u.Put(api+"/manifests/"+d.Digest, text)
}

func (u *Upstream) blob(api, kind string, data []byte) (descriptor, error) {
	d := describe(kind, data)
	return d, u.Put(api+"/blobs/"+d.Digest, data)
}

func describe(kind string, data []byte) descriptor {
	return descriptor{MediaType: kind, Size: len(data), Digest: "sha256:" + string(cas.Of(data))}
}

// layerOf returns a compressed layer and the digest of what is inside.
func layerOf(files ...file) (layer []byte, raw cas.Digest, err error) {
	plain, err := plainTar(files...)
	if err != nil {
		return nil, "", err
	}
	layer, err = gzipped(plain)
	return layer, cas.Of(plain), err
}

// registry lets the files of a directory look like a registry's answers: manifests say what they are.
func registry(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/v2/") {
			w.Header().Set("Content-Type", mediaType(files, strings.TrimPrefix(r.URL.Path, "/")))
		}
		server.ServeHTTP(w, r)
	})
}

func mediaType(files fs.FS, name string) string {
	var m struct{ MediaType string }
	if strings.Contains(name, "/manifests/") {
		if data, err := fs.ReadFile(files, name); err == nil && json.Unmarshal(data, &m) == nil {
			return m.MediaType
		}
	}
	return "application/octet-stream"
}

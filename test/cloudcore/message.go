package cloudcore

import "encoding/json"

// message is what nodes and the hub exchange, one JSON object in each text frame
// (kubeedge/beehive/pkg/core/model).
type message struct {
	Header struct {
		ID        string `json:"msg_id"`
		Parent    string `json:"parent_msg_id,omitempty"`
		Timestamp int64  `json:"timestamp"` // milliseconds
		Version   string `json:"resourceversion,omitempty"`
		Sync      bool   `json:"sync,omitempty"`
	} `json:"header"`
	Route   route           `json:"route"`
	Content json.RawMessage `json:"content"`
}

type route struct {
	Source    string `json:"source"`
	Group     string `json:"group"`
	Operation string `json:"operation"`
	Resource  string `json:"resource"`
}

// nodeObject is what we read of a Kubernetes Node (core/v1).
type nodeObject struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		NodeInfo struct {
			KubeletVersion          string `json:"kubeletVersion"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			Architecture            string `json:"architecture"`
		} `json:"nodeInfo"`
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

# Tells from edgecore's log how a join went. Prints three lines: whether it is connected and has registered
# ("1 0"), the last reason for which it did not, and the log's words for that. Without a reason these are
# its last error.

# Lines of the streams' tunnel and of the broker (ports 10004, 1883, 1884): a node is one without them.
/[Tt]unnel|:(10004|188[34])([^0-9]|$)/ { next }

/Websocket connect to cloud access successful/ { connected = 1; why = error = "" }
/Successfully registered node/ { registered = 1; why = error = "" }
/websocket (read|write) error|failed to send message to cloud|connection failed: / { connected = 0 }
/^[EF][0-9]|^panic: / { error = $0 }

/Invalid authorization token/ { note("token-rejected"); next }
/token credentials are in the wrong format/ { note("token-malformed"); next }
/failed to validate CA certificate|cannot parse the certificates|signed by unknown authority/ { note("wrong-ca"); next }
/certificate has expired or is not yet valid/ { note("certificate-time"); next }
/certificate is (not )?valid for |doesn't contain any IP SANs|certificate relies on legacy Common Name/ { note("certificate-name"); next }
/certificate cannot be nil/ { note("certificate-empty"); next }
/remote error: tls: .*certificate/ { note("certificate-rejected"); next }
/websocket: bad handshake|server gave HTTP response to HTTPS client|does not look like a TLS handshake/ { note("not-cloudcore"); next }
/no space left on device/ { note("disk-full"); next }
/Following Cgroup subsystem not mounted/ { note("cgroup-missing"); next }
/should not running on edge node/ { note("kubelet-runs"); next }
/unknown service runtime\.v1alpha2/ { note("cri-too-new"); next }
/init new edged error|dial unix / { note("waiting-cri"); next }
/no such host|Temporary failure in name resolution|lookup [^ ]+( on [^ ]+)?: / { note("waiting-dns"); next }
/dial tcp.*connection refused/ { note("connection-refused"); next }
/dial tcp.*(unreachable|no route to host|timeout)|TLS handshake timeout|Client\.Timeout exceeded|timeout awaiting response headers/ { note("unreachable"); next }
/websocket (read|write) error|failed to send message to cloud/ { note("connection-lost") }

END {
	print connected + 0, registered + 0
	print why
	print why == "" ? error : text
}

function note(reason) {
	why = reason
	text = $0
}

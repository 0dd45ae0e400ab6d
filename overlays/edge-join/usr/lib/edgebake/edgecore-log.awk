# Tells from edgecore's log how a join went. Prints three lines: whether it connected and registered
# ("1 0"), the last reason for which it did not, and the log's words for that.

/Websocket connect to cloud access successful/ { connected = 1; why = "" }
/Successfully registered node/ { registered = 1; why = "" }

/Invalid authorization token/ { note("token-rejected") }
/token credentials are in the wrong format/ { note("token-malformed") }
/failed to validate CA certificate/ { note("wrong-ca") }
/cannot parse the certificates|certificate signed by unknown authority/ { note("wrong-ca") }
/certificate has expired or is not yet valid/ { note("certificate-time") }
/no space left on device/ { note("disk-full") }
/init new edged error|dial unix / { note("waiting-cri") }
/no such host|Temporary failure in name resolution/ { note("waiting-dns") }

# The broker's ports, 1883 and 1884, are dialled too; edgecore does without them.
/dial tcp/ && !/:188[34]:/ {
	if (/connection refused/)
		note("connection-refused")
	else if (/unreachable|no route to host|timeout/)
		note("unreachable")
}

END {
	print connected + 0, registered + 0
	print why
	print text
}

function note(reason) {
	why = reason
	text = $0
}

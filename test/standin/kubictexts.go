package standin

// cniPlugin answers for the versions that release 0.8.7 speaks.
const cniPlugin = `#!/bin/sh
# A stand-in for tests: it knows its versions and makes no network.
if [ "$CNI_COMMAND" = VERSION ]; then
	echo '{"cniVersion":"0.4.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0"]}'
	exit 0
fi
echo '{"code":100,"msg":"a stand-in for tests makes no network"}'
exit 1
`

const crioConf = `# The CRI-O configuration file specifies all of the available configuration
# options and command-line flags for the crio(8) OCI Kubernetes Container Runtime
# daemon, but in a TOML format that can be more easily modified and versioned.

[crio]

# Path to the "root directory". CRI-O stores all of its data, including
# containers images, in this directory.
#root = "/var/lib/containers/storage"

# Path to the "run directory". CRI-O stores all of its state in this directory.
#runroot = "/var/run/containers/storage"

# List to pass options to the storage driver.
#storage_option = [
#]

# Location for CRI-O to lay down the temporary version file.
version_file = "/var/run/crio/version"

# Location for CRI-O to lay down the persistent version file.
version_file_persist = "/var/lib/crio/version"

[crio.api]

# Path to AF_LOCAL socket on which CRI-O will listen.
listen = "/var/run/crio/crio.sock"

[crio.runtime]

# default_runtime is the _name_ of the OCI runtime to be used as the default.
default_runtime = "runc"

# Path to the conmon binary, used for managing container runtime.
conmon = "/usr/libexec/podman/conmon"

# Cgroup setting for conmon
conmon_cgroup = "system.slice"

# Cgroup management implementation used for the runtime.
cgroup_manager = "systemd"

# Maximum number of processes allowed in a container.
pids_limit = 1024

[crio.runtime.runtimes.runc]
runtime_path = ""
runtime_type = "oci"
runtime_root = "/run/runc"

[crio.image]

# Default transport for pulling images from a remote container storage.
default_transport = "docker://"

# The image used to instantiate infra containers.
pause_image = "k8s.gcr.io/pause:3.2"

# The command to run to have a container stay in the paused state.
pause_command = "/pause"

[crio.network]

# Path to the directory where CNI configuration files are located.
network_dir = "/etc/cni/net.d/"

# Paths to directories where CNI plugin binaries are located.
plugin_dirs = [
	"/opt/cni/bin/",
]

[crio.metrics]
enable_metrics = false
metrics_port = 9090
`

const crioBridge = `{
    "cniVersion": "0.3.1",
    "name": "crio",
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": true,
    "ipMasq": true,
    "hairpinMode": true,
    "ipam": {
        "type": "host-local",
        "routes": [
            { "dst": "0.0.0.0/0" },
            { "dst": "1100:200::1/24" }
        ],
        "ranges": [
            [{ "subnet": "10.85.0.0/16" }],
            [{ "subnet": "1100:200::/24" }]
        ]
    }
}
`

const crioLoopback = `{
    "cniVersion": "0.3.1",
    "type": "loopback"
}
`

const crioUnit = `[Unit]
Description=Container Runtime Interface for OCI (CRI-O)
Documentation=https://github.com/cri-o/cri-o
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/crio
Environment=GOTRACEBACK=crash
ExecStart=/usr/bin/crio \
          $CRIO_CONFIG_OPTIONS \
          $CRIO_RUNTIME_OPTIONS \
          $CRIO_STORAGE_OPTIONS \
          $CRIO_NETWORK_OPTIONS \
          $CRIO_METRICS_OPTIONS
ExecReload=/bin/kill -s HUP $MAINPID
TasksMax=infinity
LimitNOFILE=1048576
LimitNPROC=1048576
LimitCORE=infinity
OOMScoreAdjust=-999
TimeoutStartSec=0
Restart=on-abnormal

[Install]
WantedBy=multi-user.target
`

const crioWipeUnit = `[Unit]
Description=CRI-O Auto Update Script
Before=crio.service
RequiresMountsFor=/var/lib/containers

[Service]
EnvironmentFile=-/etc/default/crio
ExecStart=/usr/bin/crio \
          $CRIO_CONFIG_OPTIONS \
          $CRIO_RUNTIME_OPTIONS \
          $CRIO_STORAGE_OPTIONS \
          wipe
Type=oneshot

[Install]
WantedBy=multi-user.target
`

const crioShutdownUnit = `[Unit]
Description=Shutdown CRI-O containers before shutting down the system
Wants=crio.service
After=crio.service
Documentation=man:crio(8)

[Service]
Type=oneshot
ExecStart=/bin/rm -f /var/lib/crio/crio.shutdown
ExecStop=/bin/bash -c "/bin/mkdir -p /var/lib/crio; /bin/touch /var/lib/crio/crio.shutdown"
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
`

const policy = `{
    "default": [
        {
            "type": "insecureAcceptAnything"
        }
    ],
    "transports":
        {
            "docker-daemon":
                {
                    "": [{"type":"insecureAcceptAnything"}]
                }
        }
}
`

// storageConf has the option that kernels before 4.19 refuse.
const storageConf = `# This file is is the configuration file for all tools
# that use the containers/storage library.
# See man 5 containers-storage.conf for more information
# The "container storage" table contains all of the server options.
[storage]

# Default Storage Driver
driver = "overlay"

# Temporary storage location
runroot = "/run/containers/storage"

# Primary Read/Write location of container storage
graphroot = "/var/lib/containers/storage"

[storage.options]
# Storage options to be passed to underlying storage drivers

# AdditionalImageStores is used to pass paths to additional Read/Only image stores
# Must be comma separated list.
additionalimagestores = [
]

[storage.options.overlay]
# mountopt specifies comma separated list of extra mount options
mountopt = "nodev,metacopy=on"

[storage.options.thinpool]
# Storage Options for thinpool
`

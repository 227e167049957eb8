# Each node sees the cluster's name and its own part, and no other node's.
{% import_json "kubedos-nodes.json" as cluster %}
kubedos:
  cluster: {{ cluster.cluster | json }}
  features: {{ cluster.features | json }}
  node: {{ cluster.nodes.get(opts.id, {}) | json }}

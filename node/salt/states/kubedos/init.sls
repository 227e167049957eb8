# What the node was told over Salt, where scripts and people find it.
{% set node = salt['pillar.get']('kubedos:node', {}) %}
/etc/kubedos/node.json:
  file.managed:
    - makedirs: True
    - mode: '0644'
    - contents: |
        {{ node | json(sort_keys=True) }}

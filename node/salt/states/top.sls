# The platform's states. The user's top file is in the environment `base`.
kubedos:
  '*':
    - kubedos

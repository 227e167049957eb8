kubedos:
  '*':
    - kubedos

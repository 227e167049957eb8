/** Descriptor of the virtual machine in an OVA. */
export interface Appliance {
  /** File name of the disk in the archive. */
  disk: string;
  /** Size of that file, bytes. */
  fileBytes: number;
  /** Size of the disk as the machine sees it, bytes. */
  diskBytes: number;
  cpus: number;
  memoryMiB: number;
}

const namespaces = {
  xmlns: "http://schemas.dmtf.org/ovf/envelope/1",
  "xmlns:ovf": "http://schemas.dmtf.org/ovf/envelope/1",
  "xmlns:rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
  "xmlns:vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
  "xmlns:vmw": "http://www.vmware.com/schema/ovf",
} as const;

const diskFormat = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/**
 * An OVF 1.1 descriptor (DMTF DSP0243): UEFI with Secure Boot, TPM, paravirtual SCSI and network. The TPM is marked as
 * not required, because a host without a key provider cannot give one.
 */
export function ovfDescriptor({ disk, fileBytes, diskBytes, cpus, memoryMiB }: Appliance): string {
  const attributes = Object.entries(namespaces).map(([name, value]) => `${name}="${value}"`);
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope ${attributes.join("\n          ")}>
  <References>
    <File ovf:id="file1" ovf:href="${disk}" ovf:size="${fileBytes}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="${diskBytes}" ovf:capacityAllocationUnits="byte" ovf:format="${diskFormat}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The underlay of the cluster</Info>
    <Network ovf:name="underlay">
      <Description>Carries WireGuard between the nodes</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="kubedos">
    <Info>A sealed node</Info>
    <Name>kubedos</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest">
      <Info>The operating system</Info>
      <Description>Debian GNU/Linux (64-bit)</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>kubedos</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-17</vssd:VirtualSystemType>
      </System>
${items(cpus, memoryMiB).map(itemXml).join("\n")}
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}

interface Item {
  optional?: boolean;
  /** Fields of CIM_ResourceAllocationSettingData. */
  fields: Record<string, string | number | boolean>;
}

function items(cpus: number, memoryMiB: number): Item[] {
  return [
    {
      fields: {
        AllocationUnits: "hertz * 10^6",
        ElementName: `${cpus} virtual CPU(s)`,
        InstanceID: 1,
        ResourceType: 3,
        VirtualQuantity: cpus,
      },
    },
    {
      fields: {
        AllocationUnits: "byte * 2^20",
        ElementName: `${memoryMiB} MiB of memory`,
        InstanceID: 2,
        ResourceType: 4,
        VirtualQuantity: memoryMiB,
      },
    },
    {
      fields: {
        Address: 0,
        ElementName: "SCSI controller 0",
        InstanceID: 3,
        ResourceSubType: "VirtualSCSI", // paravirtual
        ResourceType: 6,
      },
    },
    {
      fields: {
        AddressOnParent: 0,
        ElementName: "Hard disk 1",
        HostResource: "ovf:/disk/disk1",
        InstanceID: 4,
        Parent: 3,
        ResourceType: 17,
      },
    },
    {
      fields: {
        AddressOnParent: 7,
        AutomaticAllocation: true,
        Connection: "underlay",
        ElementName: "Network adapter 1",
        InstanceID: 5,
        ResourceSubType: "VmxNet3",
        ResourceType: 10,
      },
    },
    {
      optional: true,
      fields: {
        AutomaticAllocation: false,
        ElementName: "Virtual TPM",
        InstanceID: 6,
        ResourceSubType: "vmware.vtpm",
        ResourceType: 1,
      },
    },
  ];
}

function itemXml({ optional, fields }: Item): string {
  const lines = Object.entries(fields).map(([name, value]) => `        <rasd:${name}>${value}</rasd:${name}>`);
  const opening = optional === true ? '<Item ovf:required="false">' : "<Item>";
  return [`      ${opening}`, ...lines, "      </Item>"].join("\n");
}
